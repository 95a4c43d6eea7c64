"""The counts of many consumers at once (C63) equal those of each consumer (C28, C56), in every state."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker import Broker, ConsumerSpec, Filters, Nack, Store, StreamSpec
from broker.messages.times import microseconds
from broker.store.embedded import Embedded
from broker.streams.lifecycle import StreamChanges
from tests.conftest import Clock
from tests.contract.helpers import event, plain_add, plain_read, record
from tests.support.clock import shifted_scripts
from tests.support.cluster import Cluster

pytestmark = pytest.mark.anyio

CONSUMERS: list[dict[str, Any]] = [
    {"name": "plain"},
    {"name": "filtered", "filters": Filters(provider="crm")},
    {"name": "keyed", "ordering": "key"},
    {"name": "dies", "max_deliver": 1, "ack_wait_ms": 1000},
    {"name": "slow", "max_deliver": 3, "backoff_ms": [5000], "ack_wait_ms": 2000},
    {"name": "late", "deliver_policy": "new"},
    {"name": "of-records", "stream_id": "records", "max_deliver": 2, "ack_wait_ms": 1000},
]


@pytest.fixture
async def broker(redis_server: Embedded | Cluster, store: Store, clustered: bool) -> AsyncIterator[Broker]:
    """A broker whose messages get their ids by the movable clock, so that each has an age of its own."""
    async with Broker(Store.from_url(redis_server.url), scripts=shifted_scripts(clustered, move_ids=True)) as broker:
        yield broker


@pytest.fixture(params=["scripts", "functions"])
def watched(request: pytest.FixtureRequest, broker: Broker, function_broker: Broker) -> Broker:
    return broker if request.param == "scripts" else function_broker


async def same_as_info(broker: Broker, names: list[str]) -> None:
    """Every consumer's row is what the consumer tells, though it be asked afterwards."""
    found = await broker.overview()
    rows = {row.consumer: row for row in found.consumers}
    assert (set(rows), found.truncated) == (set(names), False)
    for name in names:
        consumer, row = await broker.consumers.get(name), rows[name]
        info = consumer.info
        reported = (consumer.stream_id, info.num_pending, info.num_ack_pending, info.num_retrying, info.num_dead)
        assert (row.stream, row.pending, row.ack_pending, row.retrying, row.dead) == reported, name
        assert (row.oldest_pending_s == 0) or info.oldest_pending_at, name
        if info.oldest_pending_at:
            now = (await broker._engine.run("stream_counts", consumer.stream_id, ""))[5]
            age = (now - microseconds(info.oldest_pending_at) / 1000) / 1000
            assert abs(row.oldest_pending_s - age) < 5, name  # ages differ by 10 s or more where it is another message
    for stream in found.streams:
        assert stream.messages == (await broker.streams.get(stream.stream)).info.messages


async def a_step(broker: Broker, store: Store, clock: Clock, chance: random.Random) -> None:
    """Something that changes counts."""
    name = chance.choice(CONSUMERS)["name"]
    match chance.randrange(12):
        case 0 | 1:
            count = chance.randrange(1, 9)
            await broker.publish("events", [event(i, chance.choice(["crm:a", "erp:b"]), key=f"k{i % 3}") for i in range(count)])
        case 2:
            await broker.publish("records", [record(f"r{chance.randrange(4)}", chance.random())])
        case 3:
            await plain_add(store, "collection_id", "crm:x", "data", "1")
        case 4:
            await broker.publish("events", [event(0, key="k1", ttl_ms=chance.choice([1000, 90_000]))])
        case 5:
            await clock.advance(chance.choice([1100, 30_000]))
        case 6 | 7 | 8:
            batch = await broker.next(name, chance.randrange(1, 7))
            tokens = [delivery.ack_token for delivery in batch.deliveries]
            await broker.ack(name, tokens[: chance.randrange(3)] or tokens)
        case 9 | 10:
            batch = await broker.next(name, 5)
            kinds: Any = ("retry", "retry", "release", "reject")
            nacks = [Nack(d.ack_token, chance.choice([None, 0, 20_000]), chance.choice(kinds)) for d in batch.deliveries]
            if nacks:
                await broker.nack(name, nacks)
        case 11:
            await broker.dead_letters.redrive_matching(name, None, None, 2)


@pytest.mark.parametrize("seed", range(2))
async def test_c63_the_counts_are_those_that_each_consumer_tells(
    watched: Broker, broker: Broker, store: Store, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    for spec in CONSUMERS:
        await broker.consumers.create(ConsumerSpec(**({"stream_id": "events"} | spec)))
    for _ in range(40):
        await a_step(broker, store, clock, chance)
        await clock.advance(10_000)
        await same_as_info(watched, [spec["name"] for spec in CONSUMERS])


async def test_c63_appended_counts_what_came_in_by_whomever_and_no_more(broker: Broker, store: Store) -> None:
    async def appended() -> list[int]:
        found = {row.stream: row.appended for row in (await broker.overview()).streams}
        return [found["events"], found["records"]]

    assert await appended() == [0, 0]
    await broker.publish("events", [event(1, id="a"), event(2, id="a"), event(3)])
    await plain_add(store, "data", "1")
    await broker.publish("records", [record("r", 1)])
    await broker.publish("records", [record("r", 1)])
    await broker.publish("records", [record("r", 2)])
    assert await appended() == [3, 2]
    await broker.streams.update("events", StreamChanges(max_messages=1))
    assert await appended() == [3, 2], "what the limits drop was there"


async def test_c63_a_plain_reader_moves_the_oldest_that_waits(broker: Broker, store: Store, clock: Clock) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    for n in range(3):
        await broker.publish("events", [event(n)])
        await clock.advance(20_000)
    await plain_read(store, "c", 2)
    await same_as_info(broker, ["c"])


async def test_c63_the_oldest_of_a_consumer_that_knows_its_place_by_number(broker: Broker, store: Store, clock: Clock) -> None:
    """After a fast read the consumer's place is a number, which yields a message's time without reading the groups."""
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    chance = random.Random(1)
    for _ in range(60):
        await broker.publish("events", [event(i) for i in range(chance.choice([1, 1, 30]))])
        await clock.advance(chance.choice([10_000, 10_000, 3_000_000]))
    places = 0
    for _ in range(60):
        batch = await broker.next("c", 7)
        await broker.ack("c", [d.ack_token for d in batch.deliveries])
        places += await store.call("HGET", "broker:{events}:consumer:c", "cursor") == b""
        await same_as_info(broker, ["c"])
    assert places > 20


async def test_c63_the_oldest_is_found_among_thousands_of_retries(broker: Broker, clock: Clock) -> None:
    """The first consumer's rows come before those of the second, so it takes steps."""
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    for name in ("a", "b"):
        await broker.consumers.create(ConsumerSpec(name=name, stream_id="s", max_ack_pending=9000))
    for n in range(4):
        await broker.publish("s", [event(i) for i in range(1000)])
        [batch, other] = [await broker.next(name, 1000) for name in ("a", "b")]
        await broker.nack("a", [Nack(d.ack_token, 100_000 - n) for d in batch.deliveries])
        if n < 2:
            await broker.ack("b", [d.ack_token for d in other.deliveries])
        else:
            await broker.nack("b", [Nack(d.ack_token, 100_000 - n) for d in other.deliveries])
        await clock.advance(20_000)
    await same_as_info(broker, ["a", "b"])


async def test_c63_of_many_consumers_the_first_are_counted_and_it_says_so(broker: Broker) -> None:
    for n in range(120):
        await broker.consumers.create(ConsumerSpec(name=f"c{n:03}", stream_id="events"))
    assert [row.consumer for row in (await broker.overview()).consumers] == [f"c{n:03}" for n in range(120)]
    some = await broker.overview(most=7)
    assert ([row.consumer for row in some.consumers], some.truncated) == ([f"c{n:03}" for n in range(7)], True)
    assert (await broker.overview(most=120)).truncated is False
    assert (await broker.overview(timeout=0)).truncated is True
