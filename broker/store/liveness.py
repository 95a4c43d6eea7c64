"""Decides which servers are gone: one decision for all connections to a server.

A server that dies closes its connections. One that hangs, or that the network cuts off, says nothing, and one that was
replaced may still answer. So a server is gone if a call on any connection to it gets no answer in time, or if the
sentinels or the cluster say that it was replaced. Then every call that waits for it fails at once, and the next calls go
to its successor.
"""

import asyncio
import contextlib
import logging

from broker.errors import StoreUnavailable
from broker.store.connection import Link, Server
from broker.store.topology import Topology

logger = logging.getLogger("broker")
# So often connections are looked at, and it is asked who was replaced; more often where calls have less time.
LOOK_S = 1.0


class Liveness:
    """Watches over the connections of a store, and of those apart from it, whose calls wait in the server."""

    def __init__(self, servers: Topology, timeout: float) -> None:
        self._servers = servers
        self._every = min(LOOK_S, timeout / 4)
        self._links: dict[Link, bool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def add(self, link: Link, *, separate: bool) -> None:
        """Watch over a connection until it is closed."""
        self._links[link] = separate
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._look)

    def _look(self) -> None:
        """Silence is counted in looks: after a stop of this process there may be answers that are yet to be read."""
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
        """Nothing came from one look to the next; what was sent just before a look has its own time yet."""
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
        """Look no more."""
        self._links = {}
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
