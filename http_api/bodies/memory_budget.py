"""Memory budget for large request bodies (C52)."""

import asyncio
from collections import deque

# Smaller bodies do not count.
FREE = 1 << 16
_ALL = 40 << 20


class MemoryBudget:
    """Bounds the bytes of bodies that are read at a time. A body without room waits in line, which slows its client."""

    def __init__(self, largest: int) -> None:
        self._left = max(_ALL, largest)
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has(self, size: int) -> bool:
        """Whether there is room for this many bytes now."""
        return not self._line and size <= self._left

    async def take(self, size: int) -> None:
        """Wait for room for this many bytes, and take it. Give it back afterwards."""
        if self.has(size):
            self._left -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        """Return room to the budget."""
        self._left += size
        while self._line and (self._line[0][0] <= self._left or self._line[0][1].done()):
            wanted, turn = self._line.popleft()
            if not turn.done():
                self._left -= wanted
                turn.set_result(None)
