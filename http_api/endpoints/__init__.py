"""Endpoints: each decodes a request, calls the broker once, and encodes the answer."""
