"""A Redis that still reads its data from the disk when a server starts is waited for."""

import asyncio
import threading

import pytest
import redis

from broker import Store
from broker.store.guarantees import loaded
from tests.support.servers import running

pytestmark = pytest.mark.anyio


async def test_the_start_waits_until_redis_has_loaded_its_data(caplog: pytest.LogCaptureFixture) -> None:
    with running("valkey", "--enable-debug-command", "yes") as server, redis.Redis.from_url(server.url) as client:
        client.mset({f"key{n}": "x" * 100 for n in range(2000)})
        client.config_set("loading-process-events-interval-bytes", 1024)
        client.config_set("key-load-delay", 10_000)  # us a key: 20 s in all
        reload = threading.Thread(target=client.execute_command, args=("DEBUG", "RELOAD"))
        reload.start()
        store = Store.from_url(server.url)
        try:
            waiting = asyncio.create_task(loaded(store))
            async with asyncio.timeout(20):
                while not caplog.messages:
                    assert not waiting.done() or reload.is_alive()
                    waiting = waiting if not waiting.done() else asyncio.create_task(loaded(store))
                    await asyncio.sleep(0.01)
                assert caplog.messages == ["Redis is loading its data; the start waits for it"]
                assert not waiting.done()
                with redis.Redis.from_url(server.url) as other:
                    other.config_set("key-load-delay", 0)
                await waiting
            assert await store.call("PING") in (b"PONG", "PONG")
            assert len(caplog.messages) == 1
        finally:
            await store.close()
            await asyncio.to_thread(reload.join)
