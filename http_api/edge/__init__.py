"""The edge: HTTP/1.1 as clients really speak it, and what a client may make the server hold (C52, C53)."""
