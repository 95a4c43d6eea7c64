"""Consumers: everything between a stream and its workers."""
