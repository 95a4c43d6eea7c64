"""What each operation costs Redis, in commands: a guard that does not depend on the machine.

A row that grows makes the operation slower for everyone; change it only with a reason, and measure (benchmarks/).
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker import Broker, ConsumerSpec, Filters, Nack, Store
from broker.consumers.filters import filter_id
from broker.store.urls import from_url
from tests.unit.counting import KINDS, Costs, cost, expired, once, publish, until_read

pytestmark = pytest.mark.anyio


NEXT = {"evalsha": 1, "hmget": 2, "time": 1, "xpending": 1, "exists": 2, "hset": 1, "zcard": 1}
READ = NEXT | {"exists": 1, "zcount": 1, "multi": 1, "exec": 1, "xrange": 1, "xgroup|create": 1, "xreadgroup": 1, "del": 2}


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
    index = {"zremrangebylex": 1, "zlexcount": 1, "zrangebylex": 2}
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
    assert found == READ | {"xack": 1, "exists": 2, "xpending": 2}


@pytest.mark.parametrize("count", [1, 100])
async def test_publishing_events(plain: Broker, store: Store, count: int) -> None:
    found = await cost(plain, store, lambda: publish(plain, count))
    assert found == {"evalsha": 1, "hmget": 2, "time": 1, "xrange": 1, "zrangebyscore": 1, "xadd": count, "hset": 1}


@pytest.mark.parametrize("count", [1, 100])
async def test_publishing_events_under_filters_costs_an_index_entry_each(plain: Broker, store: Store, count: int) -> None:
    """In one command an index, for each collection that the batch repeats."""
    for n in range(50):
        await plain.consumers.create(ConsumerSpec(name=f"c{n}", stream_id="events", filters=Filters(collection_id=f"a:{n}")))
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="events", filters=Filters(collection_id="a:b")))
    found = await cost(plain, store, lambda: publish(plain, count))
    assert (found["xadd"], found["zadd"], found["hmget"], found["zrangebylex"]) == (count, 1, 2, 1)
    assert await store.call("ZCARD", "broker:{events}:index:" + filter_id(Filters(collection_id="a:b").canonical())) == 2 * count


async def test_publishing_records(plain: Broker, store: Store) -> None:
    versions = iter(range(9))

    async def change() -> None:
        await plain.publish("records", [{"id": "r", "collection_id": "a:b", "data": next(versions)}])

    found = await cost(plain, store, change)
    assert found == {
        "evalsha": 1, "hmget": 3, "time": 1, "exists": 1, "zrem": 1, "xdel": 1, "xadd": 1, "zadd": 1, "hset": 2,
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


async def a_second_later(store: Store, stream: str, call: Callable[[], Awaitable[object]]) -> Costs:
    """What a call costs that comes when it is time to look for plain readers again."""
    for name in await store.call("SMEMBERS", f"broker:{{{stream}}}:consumers"):
        await store.call("HSET", f"broker:{{{stream}}}:consumer:{name.decode()}", "synced_at", 0)
    return await once(store, call)


@pytest.mark.parametrize("fields", KINDS, ids=["plain", "records", "filtered", "key"])
async def test_next_does_not_ask_for_the_groups_while_no_plain_client_reads(plain: Broker, store: Store, fields: dict[str, Any]) -> None:
    await expired(plain, store, fields, 20, 0)
    for _ in range(5):
        found = await a_second_later(store, fields.get("stream_id", "events"), lambda: plain.next("c"))
        assert "xinfo|groups" not in found
        assert found.get("xinfo|consumers", 0) == ("filters" not in fields and "ordering" not in fields)


async def test_next_asks_for_the_groups_once_after_a_plain_client_has_read(plain: Broker, store: Store) -> None:
    await expired(plain, store, {}, 20, 0)
    await plain.next("c")
    await store.call("XREADGROUP", "GROUP", "c", "plain", "COUNT", 1, "STREAMS", "broker:{events}:log", ">")
    found = await a_second_later(store, "events", lambda: plain.next("c"))
    assert found["xinfo|groups"] == 1
    assert (await plain.next("c")).num_pending == 16


async def test_consumers_in_turn_do_not_ask_for_the_groups(plain: Broker, store: Store) -> None:
    await publish(plain, 10)
    for n in range(20):
        await plain.consumers.create(ConsumerSpec(name=f"c{n}", stream_id="events"))

    async def in_turn() -> None:
        for n in range(20):
            assert len((await plain.next(f"c{n}")).deliveries) == 1

    assert "xinfo|groups" not in await a_second_later(store, "events", in_turn)


async def test_a_call_waits_quietly_over_a_plain_entry_in_a_record_stream(plain: Broker, store: Store) -> None:
    """The entry is no record and is delivered to nobody, so it must not wake the call again and again."""
    await plain.consumers.create(ConsumerSpec(name="c", stream_id="records"))
    await store.call("XADD", "broker:{records}:log", "*", "message", "hello")
    found = await cost(plain, store, lambda: plain.next("c", wait_ms=500))
    assert found["evalsha"] < 8 and found.get("xread", 0) < 8, found


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
