"""Bodies of requests and answers: media types, JSON, MessagePack, and memory limits."""
