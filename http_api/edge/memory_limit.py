"""Memory held for slow clients: incomplete requests, and answers that they do not read."""

from collections.abc import Hashable
from typing import Protocol


class Holder(Hashable, Protocol):
    """A connection that holds memory."""

    def cut(self) -> None:
        """Close the connection at once."""


FREE = 4096  # bytes; less than this is not counted


class MemoryLimit:
    """Bounds the memory over all connections: beyond the limit, the connection that has held some longest is cut.

    Each connection has its own bound, but there may be thousands of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._sizes: dict[Holder, int] = {}  # the oldest first

    def note(self, holder: Holder, size: int) -> None:
        """Set how many bytes are held for a connection now."""
        if size <= FREE:
            self._total -= self._sizes.pop(holder, 0)
            return
        self._total += size - self._sizes.get(holder, 0)
        self._sizes[holder] = size
        while self._total > self._limit and len(self._sizes) > 1:
            slowest = next(iter(self._sizes))
            self._total -= self._sizes.pop(slowest)
            slowest.cut()
