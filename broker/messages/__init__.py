"""Messages: input, stored form, and output."""
