"""Monitoring: metrics, logs and traces."""
