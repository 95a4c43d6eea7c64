"""Measurements: what the broker costs. Each module is a command; see docs/performance.md."""
