"""Streams: lifecycle, publishing, search and inspection."""
