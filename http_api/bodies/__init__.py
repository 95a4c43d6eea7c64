"""Bodies of requests and answers: media types, JSON, MessagePack, and what large ones may take."""
