"""What upkeep of indexes costs Redis, in commands: a bounded part of it in each script."""

from typing import Literal

import pytest

from broker import Broker, ConsumerSpec, Filters, Store, StreamSpec
from broker.consumers.filters import filter_id
from tests.unit.counting import work_of

pytestmark = pytest.mark.anyio


# What upkeep a script may do, in commands: its work is 500 units, and most commands are worth more than one.
MOST = 600


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
    """The cost does not depend on other filters. A publish that matches few patterns costs the same too."""
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
