"""HTTP/1.1 for uvicorn: parsing, answers, time limits, and memory limits per client (C52, C53)."""
