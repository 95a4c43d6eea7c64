"""Liveness: decides which servers are gone, once for all connections to a server.

A server that dies closes its connections. A server that hangs or is cut off sends nothing, and one that was replaced
may still answer. So a server counts as gone if any call to it gets no answer in time, or if the sentinels or the
cluster have replaced it. Then all calls that wait for it fail at once, and new calls go to its successor.
"""

import asyncio
import contextlib
import logging

from broker.errors import StoreUnavailable
from broker.store.connection import Link, Server
from broker.store.topology import Topology

logger = logging.getLogger("broker")
# Seconds between checks of connections and of replaced servers. Shorter if calls have less time.
LOOK_S = 1.0


class Liveness:
    """Monitors the connections of a store, and of its separate stores with blocking calls."""

    def __init__(self, servers: Topology, timeout: float) -> None:
        self._servers = servers
        self._every = min(LOOK_S, timeout / 4)
        self._links: dict[Link, bool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def add(self, link: Link, *, separate: bool) -> None:
        """Monitor a connection until it is closed."""
        self._links[link] = separate
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        """Count silence in checks, not in time: after a pause of this process, unread answers may be waiting."""
        self._links = {link: separate for link, separate in self._links.items() if not link.closed}
        for link in self._links:
            link.silent_s = link.silent_s + self._every if link.awaiting else 0.0
        for server in {link.server for link in self._links if link.silent_s > link.timeout}:
            links = [link for link in self._links if not link.awaiting or self._is_silent(link)]
            self._give_up(server, links, "does not answer")
        if self._servers.patience_s and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask(), name="broker-liveness")
        self._timer = asyncio.get_running_loop().call_later(self._every, self._look) if self._links else None

    def _is_silent(self, link: Link) -> bool:
        """Whether nothing arrived since the last check. Calls sent just before the check do not count yet."""
        return link.silent_s > self._every

    async def _ask(self) -> None:
        silent = {link.server for link, separate in self._links.items() if self._is_silent(link) and not separate}
        with contextlib.suppress(StoreUnavailable):
            for server in await self._servers.replaced({link.server for link in self._links}, silent):
                self._give_up(server, list(self._links), "was replaced")

    def _give_up(self, server: Server, links: list[Link], reason: str) -> None:
        logger.warning("Redis at %s is given up: it %s", server, reason)
        for link in links:
            if link.server == server:
                link.fail(TimeoutError(f"the server {reason}"))

    async def close(self) -> None:
        """Stop monitoring."""
        self._links = {}
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
