"""The server processes: settings, start, workers, end."""
