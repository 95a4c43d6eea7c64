"""Timer of a connection: one timeout per phase, free of cost while requests arrive regularly."""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from math import inf


class Phase(Enum):
    """The event that a connection waits for."""

    IDLE = auto()  # between requests
    HEAD = auto()  # a request has begun
    BODY = auto()  # the application waits for more of the body
    BUSY = auto()  # the application works
    READER = auto()  # the client must read
    DROPPING = auto()  # the rest of an answered request arrives


class Timer:
    """Calls `expired` when the time of a phase is over.

    A later deadline leaves the event loop's timer unchanged: if it fires too early, it is set again.
    """

    __slots__ = ("_at", "_expired", "_handle", "_loop", "_until", "phase")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop, self._expired = loop, expired
        self._handle: asyncio.TimerHandle | None = None
        self._at = self._until = inf
        self.phase = Phase.IDLE

    def set(self, phase: Phase, seconds: float) -> None:
        """Expire in this many seconds. Replaces the previous time."""
        self.phase = phase
        self._until = self._loop.time() + seconds
        if self._until < self._at:
            self._arm()

    def rest(self) -> None:
        """Do not expire while the application works."""
        self.phase, self._until = Phase.BUSY, inf

    def close(self) -> None:
        """Cancel the event loop's timer, and drop the callback."""
        self.rest()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._expired = _never

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = self._until
        self._handle = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._handle, self._at = None, inf
        if self._until == inf:
            return
        if self._loop.time() < self._until:
            self._arm()
        else:
            self._until = inf
            self._expired()


def _never() -> None:
    """Replaces the callback of a closed timer."""
