"""Streams: what enters them, and how they are looked at."""
