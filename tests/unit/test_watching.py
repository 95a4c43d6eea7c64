"""A waiting read whose connection is lost while nothing is read: what happened meanwhile must be looked at."""

import asyncio

import pytest
import redis

from broker.embedded import Embedded
from broker.store import Store
from broker.watching import Watch

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("known", [True, False], ids=["known", "not yet known"])
async def test_a_connection_lost_between_two_reads_asks_to_look_anew(store: Store, redis_server: Embedded, known: bool) -> None:
    await store.call("XADD", "grows", "*", "n", "1")
    watch = Watch(store, {"grows": "0-0"})
    try:
        assert await watch.growth() == {}  # what was before the connection is not told by it
        assert "grows" in await watch.growth()
        with redis.Redis.from_url(redis_server.url) as other:  # the event loop stands still: it cannot learn of the loss
            other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        if known:
            await asyncio.sleep(0.2)
            assert not watch._store.connected
        async with asyncio.timeout(5):
            assert await watch.growth() == {}
        await store.call("XADD", "grows", "*", "n", "2")
        assert "grows" in await watch.growth()
    finally:
        await watch.close()
