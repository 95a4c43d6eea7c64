"""The documentation: what it shows happens, and what it names exists."""
