"""What each operation costs Redis, in commands: a guard that does not depend on the machine.

A row that grows makes the operation slower for everyone; change it only with a reason, and measure (benchmarks/).
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import msgspec
import pytest

from broker import Broker, ConsumerSpec, Filters, Nack, Store, StreamSpec
from broker.commands.scripts import Scripts, prelude
from broker.consumers.filters import filter_id
from broker.store.embedded import Embedded
from broker.store.urls import from_url
from tests.support.clock import advance, shifted_scripts

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
    return await commands(store)


async def commands(store: Store) -> Costs:
    """The commands that Redis ran since its counters were reset."""
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


# What upkeep a script may do, in commands: its work is 500 units, and most commands are worth more than one.
MOST = 600


async def work_of(store: Store, call: Awaitable[object]) -> int:
    """How many commands Redis ran for a call."""
    await store.call("CONFIG", "RESETSTAT")
    await call
    return sum((await commands(store)).values())


async def steps_of(broker: Broker, store: Store, consumer: str, command: str = "consumer_info") -> list[int]:
    """The commands of each call until the consumer's index is whole."""
    engine, counts, reply = broker.streams._engine, [], [1]

    async def step() -> None:
        reply[:] = await engine.run(command, "s", consumer)

    while reply[0] == 1:
        counts.append(await work_of(store, step()))
    return counts


def collections(count: int, version: int = 0, **fields: object) -> list[dict[str, object]]:
    """Messages of as many collections."""
    return [{"collection_id": f"c:{n}", "upstream_id": str(n), "data": version} | fields for n in range(count)]


async def many_filters(broker: Broker, kind: Literal["records", "events"], count: int = 40) -> None:
    """Consumers with a filter each, all of which match the collections."""
    await broker.streams.create(StreamSpec(name="s", kind=kind))
    for n in range(count):
        patterns = ["c:*", f"only:{n}"]
        await broker.consumers.create(ConsumerSpec(name=f"c{n}", stream_id="s", filters=Filters(collection_id=patterns)))


@pytest.mark.parametrize("kind", ["events", "records"])
async def test_a_publish_leaves_to_others_what_takes_too_long(plain: Broker, store: Store, kind: Literal["records", "events"]) -> None:
    """However many filters match, a publish costs about what it costs without, and each step after it is bounded."""
    await many_filters(plain, kind)
    for version in range(2):  # the second one takes old versions out of their indexes, too
        own = await work_of(store, plain.publish("s", collections(400, version)))
        assert own < 400 + MOST
        steps = await steps_of(plain, store, "c7")
        assert len(steps) > 10
        assert max(steps) < MOST
        held = 400 if kind == "records" else 400 * (version + 1)
        assert {(await plain.consumers.get(f"c{n}")).info.num_pending for n in range(40)} == {held}
        assert (await store.call("EXISTS", "broker:{s}:leaving"), await store.call("HEXISTS", "broker:{s}:filters", "#from")) == (0, 0)


async def test_plain_entries_are_counted_and_indexed_in_bounded_steps(plain: Broker, store: Store) -> None:
    await many_filters(plain, "events")
    for n in range(300):
        await store.call("XADD", "broker:{s}:log", "*", "collection_id", f"c:{n}", "data", "1")
    steps = await steps_of(plain, store, "c0")
    assert len(steps) > 10
    assert max(steps) < MOST
    assert (await plain.next("c39", 1000)).num_ack_pending == 300


async def test_an_index_is_built_in_bounded_steps(plain: Broker, store: Store) -> None:
    await plain.streams.create(StreamSpec(name="s", kind="events"))
    for version in range(3):
        await plain.publish("s", collections(1000, version))
    canonical = Filters(collection_id=[f"c:{n}" for n in range(0, 1000, 2)]).canonical()
    fields = ("c", "all", filter_id(canonical), canonical, "ack_wait_ms", 30000, "max_deliver", -1,
              "max_ack_pending", 9999, "max_waiting", 9, "backoff_ms", "", "ordering", "none")  # fmt: skip
    await store.call("HSET", "broker:consumers", "c", "s")
    await plain.streams._engine.run_ready("consumer_create", "s", *fields)  # what shows a consumer also builds its index
    steps = await steps_of(plain, store, "c")
    assert len(steps) > 10
    assert max(steps) < MOST
    assert (await plain.next("c", 1)).num_pending == 1499


async def test_a_large_filter_costs_its_own_patterns_only(plain: Broker, store: Store) -> None:
    """Whatever other filters there are, and a publish that matches few costs the same."""
    await plain.streams.create(StreamSpec(name="s", kind="events"))

    async def create(n: int) -> int:
        filters = Filters(collection_id=[f"l{n}:{i}" for i in range(1000)], provider=["*", "p"])
        return await work_of(store, plain.consumers.create(ConsumerSpec(name=f"c{n}", stream_id="s", filters=filters)))

    await plain.publish("s", collections(1))
    costs = [await create(n) for n in range(20)]
    assert max(costs[1:]) == min(costs[1:]) < 60
    one = await work_of(store, plain.publish("s", [{"collection_id": "l3:9", "data": 1}] * 10))
    deleted = [await work_of(store, plain.consumers.delete(f"c{n}")) for n in range(20)]
    assert max(deleted) < 60
    assert one < 30
    assert await store.call("EXISTS", "broker:{s}:filters", "broker:{s}:routes", "broker:{s}:leaving") == 0


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


@pytest.fixture
async def shifted(redis_server: Embedded, store: Store) -> AsyncIterator[Broker]:
    """A broker with the clock of the tests, which costs some commands of its own."""
    async with Broker(Store.from_url(redis_server.url), scripts=shifted_scripts()) as broker:
        yield broker


async def expired(broker: Broker, store: Store, fields: dict[str, Any], count: int, times: int = 1) -> None:
    """So many deliveries of a worker that has died, their ack wait over for the `times`-th time."""
    stream = fields.get("stream_id", "events")
    spec = {"name": "c", "stream_id": stream, "ack_wait_ms": 60_000} | fields
    await broker.consumers.create(msgspec.convert(spec, ConsumerSpec))
    await broker.publish(stream, [{"collection_id": "a:b", "upstream_id": str(n), "data": n} for n in range(count)])
    for number in range(1, times + 1):
        assert [d.deliver_count for d in (await broker.next("c", 1000)).deliveries] == [number] * count
        await advance(store, 60_000)


KINDS: list[dict[str, Any]] = [{}, {"stream_id": "records"}, {"filters": {"provider": "a"}}, {"ordering": "key"}]


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("fields", KINDS, ids=["plain", "records", "filtered", "key"])
async def test_redelivering_1000_of_a_worker_that_died_costs_one_claim(
    shifted: Broker, store: Store, fields: dict[str, Any], times: int
) -> None:
    await expired(shifted, store, fields, 1000, times)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) == 1
    assert found["xpending"] < (150 if fields.get("ordering") else 10)  # once a second some 100 keys are looked at for plain XACKs
    assert found["zadd"] < 10
    assert await taken(shifted) == [times + 1] * 1000


async def test_redelivering_1000_is_one_claim_where_some_between_them_were_acked(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {}, 1000, 0)
    given = (await shifted.next("c", 1000)).deliveries
    await shifted.ack("c", [d.ack_token for d in given[::2]])
    await advance(store, 60_000)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert (found["xautoclaim"], found.get("xclaim", 0)) == (1, 0)
    assert await taken(shifted) == [2] * 500


@pytest.mark.parametrize("what", ["extended", "nacked"])
async def test_redelivering_1000_is_a_claim_a_delivery_number_where_some_were_extended_or_nacked(
    shifted: Broker, store: Store, what: str
) -> None:
    await expired(shifted, store, {}, 1000, 0)
    given = [d.ack_token for d in (await shifted.next("c", 1000)).deliveries]
    if what == "extended":
        await shifted.extend("c", given[::7])
    else:
        await shifted.nack("c", [Nack(token, 0) for token in given[::7]])
        await shifted.next("c", 100)
    await advance(store, 60_000)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) <= 2
    assert found["xpending"] < 2 * 143 + 20  # 143 stand apart
    assert len(await taken(shifted)) == 1000


async def test_delivering_1000_that_were_nacked_costs_a_claim_or_two(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {}, 1000, 0)
    await shifted.nack("c", [Nack(d.ack_token, 0) for d in (await shifted.next("c", 1000)).deliveries])
    found = await once(store, lambda: shifted.next("c", 1000))
    assert (found["xclaim"], found.get("xautoclaim", 0)) == (1, 0)
    assert await taken(shifted) == [2] * 1000


async def test_a_batch_of_10_of_1000_expired_ones_looks_at_few(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {}, 1000)
    found = await once(store, lambda: shifted.next("c", 10))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) == 1
    assert found["xpending"] < 10
    assert await taken(shifted) == [2] * 10 + [1] * 990


async def test_1000_that_die_by_expiry_are_claimed_by_none(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {"max_deliver": 1}, 1000)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) == 0
    assert found["xack"] < 10
    assert (await shifted.consumers.get("c")).info.num_dead == 1000


async def once(store: Store, call: Callable[[], Awaitable[object]]) -> Costs:
    """The commands that Redis ran for a call that cannot be made twice, and those of the tests' clock."""
    await store.call("CONFIG", "RESETSTAT")
    await call()
    return await commands(store)


async def taken(broker: Broker) -> list[int]:
    """The deliver counts of what is out."""
    rows, _ = await broker.deliveries.pending("c", limit=1000)
    return [row.deliver_count for row in rows]


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
