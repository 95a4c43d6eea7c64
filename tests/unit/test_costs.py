"""What each operation costs Redis, in commands: a guard that does not depend on the machine.

A row that grows makes the operation slower for everyone; change it only with a reason, and measure (benchmarks/).
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from broker import Broker, ConsumerSpec, Filters, Nack, Store
from broker.embedded import Embedded
from broker.scripts import Scripts, prelude
from broker.topology import from_url

pytestmark = pytest.mark.anyio

Costs = dict[str, int]


@pytest.fixture
async def plain(redis_server: Embedded, store: Store) -> AsyncIterator[Broker]:
    """A broker whose calls are counted in round trips. Its scripts keep the stream's time once, not every few ms."""
    text = prelude().replace("KEEP_MS = 10\n", "KEEP_MS = 1e9\n")
    assert text != prelude()
    async with Broker(Store.from_url(redis_server.url), scripts=Scripts(text)) as broker:
        yield broker


async def cost(broker: Broker, store: Store, call: Callable[[], Awaitable[object]]) -> Costs:
    """The commands that Redis ran for a call; `evalsha` = round trips."""
    await call()  # scripts are loaded, streams looked up
    await store.call("CONFIG", "RESETSTAT")
    await call()
    lines = (await store.call("INFO", "commandstats")).decode().split()
    rows = [line.removeprefix("cmdstat_").split(":calls=") for line in lines if line.startswith("cmdstat_")]
    return {name: int(rest.split(",")[0]) for name, rest in rows if name not in ("info", "config|resetstat")}


async def publish(broker: Broker, count: int, stream: str = "events") -> None:
    await broker.publish(stream, [{"collection_id": "a:b", "upstream_id": str(n), "data": n} for n in range(count)])


async def until_read(broker: Broker, store: Store) -> None:
    """Take messages until the script `read` is used, and let it be long until plain clients are looked for."""
    await broker.next("c")
    await store.call("HSET", "broker:{events}:consumer:c", "synced_at", 2**43)
    for _ in range(9):
        await broker.next("c")


NEXT = {"evalsha": 1, "hmget": 2, "time": 1, "xpending": 1, "exists": 2, "hset": 1, "zcard": 1}
READ = NEXT | {"multi": 1, "exec": 1, "xrange": 1, "xgroup|create": 1, "xreadgroup": 1, "del": 2}


@pytest.mark.parametrize("batch", [1, 10, 100])
async def test_next_of_an_event_stream(plain: Broker, store: Store, batch: int) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 1000)
    await until_read(plain, store)
    found = await cost(plain, store, lambda: plain.next("c", batch))
    assert found == READ


@pytest.mark.parametrize("batch", [1, 10, 100])
async def test_next_of_an_event_stream_through_the_script_alone(plain: Broker, store: Store, batch: int) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 1000)
    await plain.next("c")
    plain.deliveries._fast_read._rounds["c"] = 1000
    found = await cost(plain, store, lambda: plain.next("c", batch))
    assert found == NEXT | {"xrange": 1, "xreadgroup": 1, "hdel": 1}


@pytest.mark.parametrize("batch", [1, 10, 100])
async def test_next_with_a_filter(plain: Broker, store: Store, batch: int) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events", filters=Filters(provider="a")))
    await publish(plain, 1000)
    found = await cost(plain, store, lambda: plain.next("c", batch))
    index = {"zremrangebylex": 1, "zlexcount": 1, "zrangebylex": 1}
    assert found == NEXT | index | {"hmget": 3, "xrange": 2, "xclaim": 1, "hdel": 1}


@pytest.mark.parametrize("batch", [1, 10, 100])
async def test_ack(plain: Broker, store: Store, batch: int) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 1000)
    plain.deliveries._fast_read._rounds["c"] = 1000
    batches = [[d.ack_token for d in (await plain.next("c", batch)).deliveries] for _ in range(2)]
    found = await cost(plain, store, lambda: plain.ack("c", batches.pop()))
    assert found == {"evalsha": 1, "hmget": 1, "xpending": 1, "xack": 1, "exists": 1}


@pytest.mark.parametrize("batch", [1, 10, 100])
async def test_settling_with_the_fetch_costs_one_round_trip(plain: Broker, store: Store, batch: int) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 1000)
    await until_read(plain, store)
    tokens = [d.ack_token for d in (await plain.next("c", batch)).deliveries]

    async def both() -> None:
        tokens[:] = [d.ack_token for d in (await plain.next("c", batch, ack=tokens)).deliveries]

    found = await cost(plain, store, both)
    assert found == READ | {"xack": 1, "exists": 3, "xpending": 2}


@pytest.mark.parametrize("count", [1, 100])
async def test_publishing_events(plain: Broker, store: Store, count: int) -> None:
    found = await cost(plain, store, lambda: publish(plain, count))
    assert found == {"evalsha": 1, "hmget": 1, "time": 1, "xrange": 1, "zrangebyscore": 1, "exists": 1, "xadd": count, "hset": 1}


@pytest.mark.parametrize("count", [1, 100])
async def test_publishing_events_under_filters_costs_an_index_entry_each(plain: Broker, store: Store, count: int) -> None:
    for n in range(50):
        await plain.consumers.create(ConsumerSpec(name=f"c{n}", stream_id="events", filters=Filters(collection_id=f"a:{n}")))
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events", filters=Filters(collection_id="a:b")))
    found = await cost(plain, store, lambda: publish(plain, count))
    assert (found["xadd"], found["zadd"], found["hmget"]) == (count, count, 3)


async def test_publishing_records(plain: Broker, store: Store) -> None:
    versions = iter(range(9))

    async def change() -> None:
        await plain.publish("records", [{"id": "r", "collection_id": "a:b", "data": next(versions)}])

    found = await cost(plain, store, change)
    assert found == {
        "evalsha": 1, "hmget": 1, "time": 1, "exists": 2, "hget": 1, "zrem": 1, "xdel": 1, "zrangebylex": 1,
        "xadd": 1, "zadd": 1, "hset": 2,
    }  # fmt: skip


async def test_calls_that_come_together_share_scripts(plain: Broker, store: Store) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 200)
    out: list[str] = []

    async def fifty_times_next() -> None:
        batches = await asyncio.gather(*(plain.next("c") for _ in range(50)))
        out.extend(d.ack_token for batch in batches for d in batch.deliveries)

    assert (await cost(plain, store, fifty_times_next))["evalsha"] == 1
    assert len(set(out)) == 100
    settled = await asyncio.gather(*(plain.ack("c", [token, token]) for token in out))
    assert [(s.count, s.stale) for s in settled] == [(1, [token]) for token in out]
    found = await cost(plain, store, lambda: asyncio.gather(*(publish(plain, 1) for _ in range(50))))
    assert (found["evalsha"], found["xadd"]) == (1, 50)


async def test_acks_nacks_and_fetches_of_several_callers_in_one_script(plain: Broker, store: Store) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 10)
    a, b, c, d = [row.ack_token for row in (await plain.next("c", 4)).deliveries]
    acked, nacked, fetched, both = await asyncio.gather(
        plain.ack("c", [a, a]), plain.nack("c", [Nack(b), Nack(a)]), plain.next("c", 3), plain.next("c", 9, ack=[c, c], nack=[Nack(d)])
    )
    assert (acked.count, acked.stale) == (1, [a])
    assert (nacked.count, nacked.stale) == (1, [a])
    assert (both.settled.acked, both.settled.nacked, both.settled.stale) == (1, 1, [c])
    given = [row.id for row in (*fetched.deliveries, *both.deliveries)]
    assert len(fetched.deliveries) == 3
    assert len(given) == len(set(given)) == 8
    assert (both.num_pending, both.num_ack_pending) == (0, 8)


async def test_a_caller_that_goes_away_in_its_round_takes_nothing(plain: Broker, store: Store) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 2)
    stays = asyncio.create_task(plain.next("c"))
    goes = asyncio.create_task(plain.next("c"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    goes.cancel()
    first = await stays
    again = await plain.next("c", wait_ms=5000)
    assert [row.deliver_count for row in (*first.deliveries, *again.deliveries)] == [1, 1]
    assert first.deliveries[0].id != again.deliveries[0].id


@pytest.mark.parametrize("url", ["redis://h", "unix:///s", "redis+sentinel://h/s"])
def test_a_connection_reads_no_file(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py asks the files of the package for its version, where it is not told."""
    servers = from_url(url, timeout=1)
    monkeypatch.setattr("redis.utils.get_lib_version", lambda: pytest.fail("the version was read"))

    node = servers.node_of(("PING",))
    assert node is not None
    node.connection()


async def test_what_a_batch_took_is_freed_without_the_garbage_collector(plain: Broker, store: Store) -> None:
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await publish(plain, 1000)
    await until_read(plain, store)
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            batch = await plain.next("c", 10)
            await plain.ack("c", [delivery.ack_token for delivery in batch.deliveries])
        assert gc.collect() == 0
    finally:
        gc.enable()
