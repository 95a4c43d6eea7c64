"""If many messages leave a stream or a consumer, each script handles a bounded part, and reads in between are right.

Work is counted in rows, which do not depend on the machine: those that a script removes from `retrying` and the log.
"""

from itertools import pairwise
from typing import Any

import pytest

from broker import Broker, ConsumerSpec, Nack, Store, StreamChanges, StreamSpec
from broker.commands.engine import AGAIN
from broker.errors import ConsumerNotFound, StreamNotFound
from broker.streams.search import Search
from tests.conftest import Clock
from tests.unit.counting import commands, work_of

pytestmark = pytest.mark.anyio

ROWS, ENTRIES = 200, 10_000
KEYED = ("k1", "k2", "k3", "k4")


async def step(broker: Broker, command: str, *args: str | int, stream: str = "s") -> Any:
    """One script."""
    return await broker.streams._engine.run(command, stream, *args)


async def rows(store: Store) -> int:
    """How many messages wait, and for how many consumers."""
    found: int = await store.call("ZCARD", "broker:{s}:retrying")
    return found


async def counts(broker: Broker, name: str) -> tuple[int, int]:
    info = (await broker.consumers.get(name)).info
    return info.num_pending, info.num_ack_pending


async def publish(broker: Broker, count: int, **fields: Any) -> list[str]:
    """Events of one key."""
    found = []
    for first in range(0, count, 1000):
        batch = [{"collection_id": "a:b", "key": "k", "data": n} | fields for n in range(first, min(count, first + 1000))]
        found += [row.message_id or "" for row in await broker.publish("s", batch)]
    return found


async def reach(broker: Broker, name: str, waiting: int) -> str:
    """Have a keyed consumer take the first message, and park the others; gives the token."""
    [first] = (await broker.next(name)).deliveries
    assert not (await broker.next(name, 1000)).deliveries
    assert await counts(broker, name) == (waiting, 1)
    return first.ack_token


async def parked(broker: Broker, count: int, *names: str) -> list[str]:
    """A stream of which keyed consumers have parked all but the first message; gives the tokens of that one."""
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    for name in names:
        await broker.consumers.create(ConsumerSpec(name=name, stream_id="s", ordering="key"))
    await publish(broker, count)
    return [await reach(broker, name, count - 1) for name in names]


async def nacked(broker: Broker, name: str, count: int, delay_ms: int = 0) -> None:
    """A consumer that has nacked the first messages."""
    tokens = [d.ack_token for d in (await broker.next(name, count)).deliveries]
    assert len(tokens) == count
    await broker.nack(name, [Nack(token, delay_ms) for token in tokens])


async def test_a_tighter_limit_drops_what_waits_in_bounded_steps(broker: Broker, store: Store) -> None:
    tokens = await parked(broker, 300, *KEYED)
    assert await rows(store) == 4 * 299
    found, reply = [await rows(store)], AGAIN
    while reply == AGAIN:
        reply = await step(broker, "stream_update", "max_messages", 10)
        found.append(await rows(store))
        assert await step(broker, "next", "k1", 1, 1, 0) == AGAIN or found[-1] <= 4 * 10 + ROWS  # nothing is counted or given before
    assert max(a - b for a, b in pairwise(found)) <= 2 * ROWS  # the step of `next` is in it
    for name, token in zip(KEYED, tokens, strict=True):
        assert await counts(broker, name) == (10, 1)  # the one that is out keeps its key
        assert await store.call("HLEN", f"broker:{{s}}:parked:{name}") == await store.call("ZCARD", f"broker:{{s}}:queue:{name}") == 10
        assert (await broker.ack(name, [token])).stale == []
        [next_] = (await broker.next(name, 10)).deliveries
        assert b'"data":290' in next_.json
        assert await counts(broker, name) == (9, 1)


async def test_whoever_comes_by_goes_on_with_a_limit_whose_caller_died(broker: Broker, store: Store) -> None:
    """A consumer whose messages come by the read that follows, beside the one with the rows."""
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    for name in ("retries", "other"):
        await broker.consumers.create(ConsumerSpec(name=name, stream_id="s"))
    ids = await publish(broker, 1000)
    await nacked(broker, "retries", 900, 60_000)
    await broker.next("other")
    assert await step(broker, "stream_update", "max_messages", 50) == AGAIN
    assert await store.call("HGET", "broker:{s}", "dropping") == b"1"
    assert (await step(broker, "fast_read", "retries", 10, 0))[0] != 0
    batch = await broker.next("retries", 1000)
    assert [d.id for d in batch.deliveries] == ids[-50:]
    assert (batch.num_pending, batch.num_ack_pending) == (0, 50)
    assert await counts(broker, "other") == (50, 1)
    assert await store.call("HEXISTS", "broker:{s}", "dropping") == 0
    assert await store.call("EXISTS", "broker:{s}:retrying", "broker:{s}:retry:retries") == 0
    assert (await broker.streams.get("s")).info.messages == 50


@pytest.mark.parametrize("limit", ["max_messages", "max_age_ms"])
async def test_a_limit_drops_so_many_entries_a_script(broker: Broker, store: Store, clock: Clock, limit: str) -> None:
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    await publish(broker, 25_000)
    await clock.advance(60_000)
    left, reply = [25_000], AGAIN
    while reply == AGAIN:
        reply = await step(broker, "stream_update", limit, 1 if limit == "max_messages" else 1000)
        left.append(await store.call("XLEN", "broker:{s}:log"))
    assert left[-1] == (1 if limit == "max_messages" else 0)
    assert max(a - b for a, b in pairwise(left)) <= ENTRIES + ENTRIES / 2
    assert await counts(broker, "c") == (left[-1], 0)


async def test_a_stream_is_not_shown_with_more_than_its_limit(broker: Broker, store: Store) -> None:
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    await publish(broker, 25_000)
    assert await step(broker, "stream_update", "max_messages", 7) == AGAIN
    assert await step(broker, "stream_info") == AGAIN
    assert (await broker.streams.get("s")).info.messages == 7


async def test_superseded_records_leave_in_bounded_steps(broker: Broker, store: Store) -> None:
    await broker.streams.create(StreamSpec(name="s", kind="records"))

    async def put(version: int) -> list[str]:
        records = [{"id": str(n), "collection_id": "a:b", "data": version} for n in range(300)]
        return [row.message_id or "" for row in await broker.publish("s", records)]

    names = ("a", "b", "c", "d")
    await put(0)
    for name in names:
        await broker.consumers.create(ConsumerSpec(name=name, stream_id="s"))
        await nacked(broker, name, 300, 60_000)
    before = await rows(store)
    new = await put(1)
    assert before - 2 * ROWS <= await rows(store) < before == 1200
    assert await step(broker, "consumer_info", "a") == AGAIN
    for name in names:
        assert await counts(broker, name) == (300, 0)
        batch = await broker.next(name, 1000)
        assert [d.id for d in batch.deliveries] == new
        assert {d.deliver_count for d in batch.deliveries} == {1}
    assert await store.call("EXISTS", "broker:{s}:retrying", "broker:{s}:gone", "broker:{s}:notes:a") == 0
    assert await store.call("HEXISTS", "broker:{s}", "dropping") == 0


@pytest.mark.parametrize("command", ["consumer_delete", "consumer_reset"])
async def test_what_a_consumer_leaves_costs_its_end_nothing(broker: Broker, store: Store, command: str) -> None:
    await parked(broker, 900, "k1", "k2")
    args = ("all", "all") if command == "consumer_reset" else ()
    small = await work_of(store, step(broker, command, "k2", *args))
    await broker.streams.delete("s", force=True)
    await parked(broker, 300, "k1", "k2")
    assert abs(await work_of(store, step(broker, command, "k2", *args)) - small) <= 3  # the stream's time is kept now and then
    assert await rows(store) >= 2 * 299 - ROWS


async def test_a_deleted_consumer_is_gone_at_once_and_its_rows_go_in_steps(broker: Broker, store: Store) -> None:
    [token, _] = await parked(broker, 600, "k1", "k2")
    assert await step(broker, "consumer_delete", "k1") == b"OK"
    assert await rows(store) == 2 * 599 - ROWS
    for call in (broker.consumers.get("k1"), broker.next("k1"), broker.ack("k1", [token])):
        with pytest.raises(ConsumerNotFound):
            await call
    with pytest.raises(ConsumerNotFound):
        await step(broker, "consumer_delete", "k1")
    assert await counts(broker, "k2") == (599, 1)  # a step of a caller who comes by
    assert await rows(store) == 2 * 599 - 2 * ROWS
    assert await step(broker, "sweep") == b"OK"
    assert await rows(store) == 599
    assert await step(broker, "sweep") == b"OK"
    assert await store.call("EXISTS", "broker:{s}:left") == 0
    assert [key for key in await store.call("KEYS", "broker:{s}:*") if b":left" in key or key.endswith(b":k1")] == []
    assert await counts(broker, "k2") == (599, 1)


async def test_a_consumer_of_the_same_name_sees_nothing_of_what_is_left(broker: Broker, store: Store) -> None:
    """Nor does what clears it away touch the rows of the new one, which may be the same."""
    [token] = await parked(broker, 700, "k1")
    await step(broker, "consumer_delete", "k1")
    await broker.consumers.create(ConsumerSpec(name="k1", stream_id="s", ordering="key"))
    assert await counts(broker, "k1") == (700, 0)
    assert (await broker.ack("k1", [token])).stale == [token]
    await reach(broker, "k1", 699)
    while await step(broker, "sweep") == AGAIN:
        pass
    assert await rows(store) == 699
    await broker.streams.update("s", StreamChanges(max_messages=5))
    assert await counts(broker, "k1") == (5, 1)
    assert await rows(store) == 5


async def test_a_reset_again_and_again_leaves_nothing(broker: Broker, store: Store) -> None:
    await parked(broker, 500, "k1")
    for _ in range(3):
        await step(broker, "consumer_reset", "k1", "all", "all")
        assert await counts(broker, "k1") == (500, 0)
        await reach(broker, "k1", 499)
    await broker.consumers.reset("k1", "new")
    assert await counts(broker, "k1") == (0, 0)
    assert await rows(store) == 0
    assert await store.call("EXISTS", "broker:{s}:left") == 0


async def test_a_deleted_stream_leaves_no_key(broker: Broker, store: Store) -> None:
    """However much of its consumers is yet to be cleared away, and at a cost that does not grow with it."""
    costs = []
    for count in (300, 900):
        await parked(broker, count, "k1", "k2", "k3")
        await step(broker, "consumer_delete", "k3")
        await step(broker, "stream_update", "max_messages", 10)
        costs.append(await work_of(store, broker.streams.delete("s", force=True)))
        assert await store.call("KEYS", "broker:{s}*") == [b"broker:{s}:wake"]
    assert costs[1] <= costs[0] + 3
    with pytest.raises(StreamNotFound):
        await step(broker, "sweep")


async def test_a_search_newest_first_stops_at_the_first_message(broker: Broker, store: Store) -> None:
    """An XREVRANGE from there goes through all of the stream."""
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    ids = await publish(broker, 101)  # looked at in steps of 1 and 100

    async def reads(after: str) -> tuple[str, int, int]:
        await store.call("CONFIG", "RESETSTAT")
        reply = await step(broker, "messages", after, 1000, "", "", "", 1)
        return reply[1].decode(), reply[3], (await commands(store)).get("xrevrange", 0)

    assert await reads("") == ("", 101, 2)
    assert await reads(ids[0]) == ("", 0, 0)
    assert await reads("1-0") == ("", 0, 0)
    await store.call("XTRIM", "broker:{s}:log", "MAXLEN", 0)
    assert await reads(ids[-1]) == ("", 0, 0)


@pytest.mark.parametrize("plain", [False, True])
async def test_a_search_for_one_message_does_not_stop_at_each_that_might_match(broker: Broker, store: Store, plain: bool) -> None:
    """Scripts give what has the text anywhere, here as its key, and all that plain clients added."""
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    await publish(broker, 1 if plain else 3000, key="4711")
    for _ in range(2000 if plain else 0):
        await store.call("XADD", "broker:{s}:log", "*", "key", "4711")
    await broker.streams.messages("s")  # what plain clients added is counted
    await store.call("CONFIG", "RESETSTAT")
    assert (await broker.streams.messages("s", limit=1, what=Search(contains="order 4711" if plain else "4711"))).messages == []
    assert (await commands(store))["evalsha"] <= 10


def test_scripts_look_for_the_begin_of_a_long_text() -> None:
    """Lua compares all of a text at each place where it may begin."""
    search = Search(id="i" * 1000, upstream_id="u" * 1000, key="ö" * 1000, contains="x" * 1000)
    assert sorted(map(len, search.needles())) == [64] * 4
