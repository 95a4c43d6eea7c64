"""What Redis is asked for at a scrape, and how often: it is taken once in five seconds, by one of a server's processes for all (C63)."""

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import IO

import msgspec

from broker.broker import Broker
from broker.errors import BrokerError
from broker.overview import Overview
from http_api.monitoring.exposition import Scrape
from http_api.monitoring.metrics import COUNTS_AT

# An overview is shown for so long.
KEPT_S = 5.0
CONSUMERS = 1000
# Prometheus gives a scrape 10 s. So long the names may take, by which it is known whether Redis answers, and the overview.
NAMES_S, OVERVIEW_S = 1.0, 3.0
_LOOK_S = 0.02


class _Taken(msgspec.Struct):
    """An overview, and when it was begun, by the clock that all processes of a machine share."""

    at: float
    overview: Overview

    def is_fresh(self) -> bool:
        return time.monotonic() - self.at < KEPT_S


class Scraper:
    """The scrapes of one process. Nothing is asked while nobody scrapes."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._turn = asyncio.Lock()
        self._taken: _Taken | None = None
        directory = os.environ.get(COUNTS_AT)
        self._file = Path(directory, "overview") if directory else None

    async def scrape(self) -> Scrape:
        """What Redis tells now, or not long ago."""
        try:
            async with asyncio.timeout(NAMES_S):
                publishing = (await self._broker.readiness()).publishing
                names = await self._broker.names()
        except (BrokerError, TimeoutError):
            return Scrape()
        async with self._turn:
            if self._taken is None or not self._taken.is_fresh():
                self._taken = await self._take() if self._file is None else await self._share(self._file)
            return Scrape(names, self._taken.overview, publishing)

    async def _take(self) -> _Taken:
        at = time.monotonic()
        try:
            return _Taken(at, await self._broker.overview(CONSUMERS, OVERVIEW_S))
        except BrokerError:
            return _Taken(at, Overview([], [], truncated=True))

    async def _share(self, path: Path) -> _Taken:
        """What another process has taken, or take it while the others wait."""
        with path.open("a+b") as file:
            while not _lock(file):  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(_LOOK_S)
            file.seek(0)
            text = file.read()
            taken = msgspec.msgpack.decode(text, type=_Taken) if text else None
            if taken is None or not taken.is_fresh():
                taken = await self._take()
                file.truncate(0)
                file.write(msgspec.msgpack.encode(taken))
            return taken


def _lock(file: IO[bytes]) -> bool:
    """Hold the file until it is closed, also by the end of the process. False: another one does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
