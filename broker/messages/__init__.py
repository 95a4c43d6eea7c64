"""Messages: how they come in, how they are stored, and how they go out."""
