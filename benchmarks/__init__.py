"""Benchmarks of the broker. Each module is a command; see docs/performance.md."""
