"""Watching Redis Streams grow: one blocking XREAD on a connection of its own."""

import asyncio
import logging
from typing import Any

from broker.errors import BrokerError
from broker.store import Store

logger = logging.getLogger("broker")
BLOCK_MS = 20_000
RETRY_S = 0.2


async def last_id(store: Store, name: str) -> str:
    """The last id of a stream, `0-0` for one that is empty."""
    last = await store.call("XREVRANGE", name, "+", "-", "COUNT", 1)
    return last[0][0].decode() if last else "0-0"


class Watch:
    """Waits for streams to grow. `at` maps a stream to the id behind which growth counts; it may be moved forward.

    Streams of one watch must share a cluster slot.
    """

    def __init__(self, store: Store, at: dict[str, str], count: int = 1) -> None:
        self.at = at
        self._store = store.apart(timeout=BLOCK_MS / 1000 + 5)
        self._count = count

    async def growth(self) -> dict[str, list[Any]]:
        """Wait for growth; gives at most `count` entries a stream, and moves `at` behind them.

        An empty answer asks to look anew at what is watched: the connection was made just now, so what happened before may have left no
        trace in the streams, or nothing came for so long that it may have been lost unnoticed.
        """
        if not self._store.connected:
            await self._connect()
            return {}
        try:
            reply = await self._store.call("XREAD", "COUNT", self._count, "BLOCK", BLOCK_MS, "STREAMS", *self.at, *self.at.values())
        except BrokerError as exc:
            logger.warning("a waiting read was lost and will be made again: %s", exc)
            await asyncio.sleep(RETRY_S)
            await self._connect()
            return {}
        grown: dict[str, list[Any]] = {name.decode(): entries for name, entries in reply or ()}
        for name, entries in grown.items():
            self.at[name] = entries[-1][0].decode()
        return grown

    async def _connect(self) -> None:
        """Return when it answers."""
        while True:
            try:
                await self._store.call("EXISTS", next(iter(self.at)))
                return
            except BrokerError:
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Give up the connection."""
        await self._store.close()
