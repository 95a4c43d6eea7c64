"""Server processes: start, workers, supervision, shutdown."""
