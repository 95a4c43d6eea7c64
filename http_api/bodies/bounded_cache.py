"""Cache for keys that come from clients: bounded in number and in size (C52)."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

Key = TypeVar("Key", str, bytes)
Value = TypeVar("Value")
_LONGEST = 256


def cached(look: Callable[[Key], Value]) -> Callable[[Key], Value]:
    """The function with a cache for short keys. Clients repeat theirs."""
    known = lru_cache(maxsize=1024)(look)

    def found(key: Key) -> Value:
        return known(key) if len(key) <= _LONGEST else look(key)

    return found
