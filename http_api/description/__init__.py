"""The API description: operations, shapes and words, as an OpenAPI document."""
