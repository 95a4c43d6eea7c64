"""What a server holds for slow clients: parts of requests that are not whole, and answers that nobody reads."""

from collections.abc import Hashable
from typing import Protocol


class Holder(Hashable, Protocol):
    """A connection that something is held for."""

    def cut(self) -> None:
        """End it at once."""


FREE = 4096  # so little of a connection is not counted


class Held:
    """Bounds it over all connections: beyond the limit, the one that something has been held for longest is cut.

    Each connection alone is bounded already, but there may be thousands of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._sizes: dict[Holder, int] = {}  # the longest first

    def note(self, holder: Holder, size: int) -> None:
        """So many bytes are held for a connection now."""
        if size <= FREE:
            self._total -= self._sizes.pop(holder, 0)
            return
        self._total += size - self._sizes.get(holder, 0)
        self._sizes[holder] = size
        while self._total > self._limit and len(self._sizes) > 1:
            slowest = next(iter(self._sizes))
            self._total -= self._sizes.pop(slowest)
            slowest.cut()
