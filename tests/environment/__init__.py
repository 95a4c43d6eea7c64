"""Environments that people really have."""
