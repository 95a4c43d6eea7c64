"""Consumers: filters, delivery, waiting and dead letters."""
