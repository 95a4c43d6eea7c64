"""Scraping: reads the state of Redis for /metrics, once in five seconds for all processes of a server (C63)."""

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

# How long an overview is shown.
KEPT_S = 5.0
CONSUMERS = 1000
# Time limits for reading the names, which also shows whether Redis answers, and the overview. Prometheus allows 10 s
# for a scrape.
NAMES_S, OVERVIEW_S = 1.0, 3.0
_LOOK_S = 0.02


class _Taken(msgspec.Struct):
    """An overview, and when it began, by the clock that all processes of a machine share."""

    at: float
    overview: Overview

    def is_fresh(self) -> bool:
        return time.monotonic() - self.at < KEPT_S


class Scraper:
    """The scrapes of one process. Without scrapes, Redis gets no calls."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._turn = asyncio.Lock()
        self._taken: _Taken | None = None
        directory = os.environ.get(COUNTS_AT)
        self._file = Path(directory, "overview") if directory else None

    async def scrape(self) -> Scrape:
        """The state of Redis, at most some seconds old."""
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
        """Use another process's overview, or take one while the others wait."""
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
    """Lock the file until it is closed or the process ends. False: another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
