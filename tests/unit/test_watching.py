"""A waiting read whose connection is lost while nothing is read: what happened meanwhile must be looked at."""

import asyncio

import pytest

from broker.store import Store
from broker.watching import Watch

pytestmark = pytest.mark.anyio


async def test_a_connection_lost_between_two_reads_asks_to_look_anew(store: Store) -> None:
    await store.call("XADD", "grows", "*", "n", "1")
    watch = Watch(store, {"grows": "0-0"})
    try:
        assert "grows" in await watch.growth()
        await store.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", at="grows")
        await asyncio.sleep(0.2)
        assert not watch._store.connected  # the loss is known, and no read was there to fail by it
        async with asyncio.timeout(5):
            assert await watch.growth() == {}
        await store.call("XADD", "grows", "*", "n", "2")
        assert "grows" in await watch.growth()
    finally:
        await watch.close()
