"""Reads that wait: what happened while a connection was lost is looked at, and few connections serve many streams."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from broker import Broker, ConsumerSpec, Store, StreamSpec
from broker.consumers.batches import Batch
from broker.store import watch
from broker.store.embedded import Embedded
from broker.store.watch import Watch
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio
USERS = {"allowed": ["+@all"], "no unblock": ["+@all", "-client|unblock"], "no client": ["+@all", "-client"]}


@pytest.mark.parametrize("known", [True, False], ids=["known", "not yet known"])
async def test_a_connection_lost_between_two_reads_asks_to_look_again(store: Store, redis_server: Embedded, known: bool) -> None:
    await store.call("XADD", "grows", "*", "n", "1")
    watch = Watch(store, {"grows": "0-0"})
    try:
        assert await watch.growth() is None  # a new connection does not report earlier growth
        assert "grows" in (await watch.growth() or ())
        with redis.Redis.from_url(redis_server.url) as other:  # the event loop stands still: it cannot learn of the loss
            other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        if known:
            await eventually(lambda: not watch._store.connected)
        async with asyncio.timeout(5):
            assert await watch.growth() is None
        await store.call("XADD", "grows", "*", "n", "2")
        assert "grows" in (await watch.growth() or ())
    finally:
        await watch.close()


@pytest.fixture(params=USERS)
def url(request: pytest.FixtureRequest, redis_server: Embedded, store: Store) -> Iterator[str]:
    """The Redis, as users of different rights."""
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "meek", "on", ">secret", "~*", *USERS[request.param])
        yield redis_server.url.replace("unix://", "unix://meek:secret@")
        admin.execute_command("ACL", "DELUSER", "meek")


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_a_read_that_may_not_have_begun_is_interrupted(store: Store, url: str, turns: int) -> None:
    ordinary = Store.from_url(url)
    await ordinary.call("PING")
    watch = Watch(ordinary, {"grows": "0-0"}, block_s=1000)
    try:
        assert await watch.growth() is None
        reading = asyncio.create_task(watch.growth())
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await watch.interrupt()
            assert await reading == {}
        await store.call("XADD", "grows", "*", "n", "1")
        assert "grows" in (await watch.growth() or ())
    finally:
        await watch.close()
        await ordinary.close()


@pytest.fixture
async def woken(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    """A broker whose calls are woken or never answered."""
    monkeypatch.setattr("broker.consumers.waiting_queue.LOOK_AGAIN_S", 1000.0)
    monkeypatch.setattr(watch, "LINGER_S", 1000.0)
    async with Broker.from_url(url) as broker:
        yield broker


async def begin(broker: Broker, names: list[str]) -> list[asyncio.Task[Batch]]:
    """A call on each of these streams, which waits in Redis."""
    for name in names:
        await broker.streams.create(StreamSpec(name=name, kind="events"))
        await broker.consumers.create(ConsumerSpec(name=name, stream_id=name))
    calls = [asyncio.create_task(broker.next(name, wait_ms=300_000)) for name in names]
    while not all(name in broker.waiting._queues and broker.waiting._queues[name]._call_off for name in names):
        await broker.store.call("PING")
    return calls


async def connections(store: Store) -> int:
    """How many there are to Redis."""
    return len((await store.call("CLIENT", "LIST")).splitlines())


async def test_streams_that_share_a_read_are_all_waited_for(woken: Broker, store: Store) -> None:
    before = await connections(store)
    early = [f"s{n}" for n in range(100)]
    calls = await begin(woken, early)
    late = [f"late{n}" for n in range(20)]
    calls += await begin(woken, late)
    assert watch.READS < 8
    async with asyncio.timeout(20):
        while await connections(store) - before > watch.READS:  # Redis lists a closed connection until it reads its end
            await store.call("PING")
        for name, call in zip(early + late, calls, strict=True):
            await woken.publish(name, [{"collection_id": "a:b", "data": name}])
            assert len((await call).deliveries) == 1


@pytest.mark.parametrize("url", ["allowed"], indirect=True)
async def test_nothing_stays_of_streams_that_nobody_waits_on(woken: Broker, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LINGER_S", 0.05)
    before = await connections(store)
    names = [f"s{n}" for n in range(50)]
    calls = await begin(woken, names)
    for name in names[:25]:
        await woken.streams.delete(name, force=True)
    for call in calls[25:]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert woken.waiting._queues == {}
    async with asyncio.timeout(20):
        while woken.waiting.reads._reads or await connections(store) > before:
            await store.call("PING")


@pytest.mark.parametrize("url", ["allowed"], indirect=True)
async def test_streams_that_share_a_read_are_looked_at_when_its_connection_was_lost(woken: Broker, redis_server: Embedded) -> None:
    names = [f"s{n}" for n in range(20)]
    calls = await begin(woken, names)
    with redis.Redis.from_url(redis_server.url) as other:  # the event loop stands still: it cannot learn of the loss
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for name in names:
            other.xadd(f"broker:{{{name}}}:log", {"collection_id": "a:b", "data": "1"})
    async with asyncio.timeout(20):
        assert [len((await call).deliveries) for call in calls] == [1] * 20
