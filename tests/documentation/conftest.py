"""A server for the tests here."""

from tests.unit.conftest import data_dir, server

__all__ = ["data_dir", "server"]
