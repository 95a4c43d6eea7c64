"""API description: builds the OpenAPI document."""
