"""The types of request bodies and answers. What the API description shows of them is made from these types."""
