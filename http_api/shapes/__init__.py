"""Types of request bodies and answers, also used for the API description."""
