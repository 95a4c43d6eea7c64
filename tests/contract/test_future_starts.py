"""Starts that are still to come, and events that came due before a start."""

import asyncio
from datetime import UTC, datetime
from time import time

import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.helpers import (
    body,
    counts,
    data,
    event,
    info,
    now_ms,
    plain_add,
    publish_each,
    take,
)
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


def in_ms(ms: float) -> str:
    """A time so far from now."""
    return datetime.fromtimestamp(time() + ms / 1000, UTC).isoformat()


async def until_ids_pass(store: Store, start: str) -> None:
    """The ids of entries are made by Redis' own clock, which nobody moves."""
    left = datetime.fromisoformat(start).timestamp() * 1000 - await now_ms(store)
    await asyncio.sleep(max(0, left) / 1000 + 0.01)


async def publish_keys(api: Api, **keys: str) -> None:
    """An event a key; its data are the name."""
    await api.publish("events", [event(name, key=key) for name, key in keys.items()])


EARLY = {f"early{n}": f"k{n}" for n in range(5)}
LATE = {f"late{n}": f"K{n}" for n in range(3)}
AGAIN = {f"again{n}": f"K{n}" for n in range(3)}
OTHER = {f"other{n}": f"k{n}" for n in range(3)}


@pytest.mark.parametrize("how", ["created", "reset"])
async def test_a_start_still_to_come_of_a_consumer_in_order_by_key(api: Api, store: Store, how: str) -> None:
    if how == "created":
        start = in_ms(600)
        await api.create_consumer(name="c", stream_id="events", ordering="key", deliver_policy=start)
    else:
        await api.create_consumer(name="c", stream_id="events", ordering="key")
        await publish_keys(api, **OTHER)
        assert data(await api.next("c", 2)) == ["other0", "other1"]
        start = in_ms(600)
        await api.reset_consumer("c", start)
    await publish_keys(api, **EARLY)
    assert await counts(api, "c") == (0, 0, 0, 0)
    assert data(await api.next("c", 9)) == []
    await until_ids_pass(store, start)
    assert await counts(api, "c") == (0, 0, 0, 0)
    await publish_keys(api, **LATE)
    assert await counts(api, "c") == (3, 0, 0, 0)
    batch = await api.next("c", 3)
    assert (data(batch), batch["info"]) == ([*LATE], info(0, 3))
    await publish_keys(api, **AGAIN, **OTHER)
    assert await counts(api, "c") == (6, 3, 0, 0)
    assert [body(row)["data"] for row in await api.peek("c", 9)] == [*OTHER]
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]) == ([*OTHER], info(3, 6))


@pytest.mark.parametrize(
    "fields", [{}, {"filters": {"provider": "crm"}}, {"stream_id": "records"}, {"stream_id": "records", "ordering": "key"}],
    ids=["plain", "filtered", "records", "records-key"],
)  # fmt: skip
async def test_a_start_still_to_come_is_counted_from_at_once(api: Api, store: Store, fields: Json) -> None:
    start, stream = in_ms(600), fields.get("stream_id", "events")
    await api.create_consumer(name="c", deliver_policy=start, **{"stream_id": "events"} | fields)
    await api.publish(stream, [event(n, id=f"early{n}") for n in range(5)])
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"], await counts(api, "c")) == ([], info(0, 0), (0, 0, 0, 0))
    await until_ids_pass(store, start)
    await api.publish(stream, [event(n, id=f"late{n}") for n in range(3)])
    assert await counts(api, "c") == (3, 0, 0, 0)
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([0, 1], info(1, 2))
    await api.publish(stream, [event(n, id=f"more{n}") for n in range(3, 6)])
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([2, 3], info(2, 4))
    assert await take(api, "c") == [4, 5]


@pytest.mark.parametrize("ordering", ["none", "key"])
async def test_a_start_still_to_come_is_reached_by_an_entry_of_a_plain_client(api: Api, store: Store, ordering: str) -> None:
    start = in_ms(3_600_000)
    await api.create_consumer(name="c", stream_id="events", ordering=ordering, deliver_policy=start)
    await publish_each(api, [1, 2])
    at = round(datetime.fromisoformat(start).timestamp() * 1000)
    await plain_add(store, "collection_id", "crm:x", "data", "3", at=f"{at - 10}-0")
    assert await counts(api, "c") == (0, 0, 0, 0)
    await plain_add(store, "collection_id", "crm:x", "data", "4", at=f"{at + 10}-0")
    await publish_each(api, [5, 6])
    assert await counts(api, "c") == (3, 0, 0, 0)
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([4, 5], info(1, 2))


async def test_a_start_that_trimming_has_passed_is_counted_from_what_is_left(api: Api, store: Store) -> None:
    await api.create_stream(name="s", kind="events", max_messages=2)
    start = in_ms(300)
    await api.create_consumer(name="c", stream_id="s", deliver_policy=start)
    await publish_each(api, [1, 2], "s")
    await until_ids_pass(store, start)
    await publish_each(api, [3, 4, 5], "s")
    assert await counts(api, "c") == (2, 0, 0, 0)
    assert await take(api, "c") == [4, 5]


# What was to be delivered later, and came due while nobody looked

DELAYED: list[Json] = [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}]


@pytest.mark.parametrize("how", ["created", "reset"])
@pytest.mark.parametrize("fields", DELAYED, ids=["plain", "filtered", "key"])
@pytest.mark.parametrize("policy", ["new", "1s", "59s"])
async def test_an_event_that_came_due_before_a_consumer_began_is_not_its_own(
    api: Api, clock: Clock, policy: str, fields: Json, how: str
) -> None:
    if how == "reset":
        await api.create_consumer(name="c", stream_id="events", **fields)
    await api.publish("events", [event("was due", deliver_at=in_ms(60_000)), event("is due", deliver_at=in_ms(240_000))])
    await clock.advance(120_000)
    if how == "reset":
        await api.reset_consumer("c", policy)
    else:
        await api.create_consumer(name="c", stream_id="events", deliver_policy=policy, **fields)
    assert await counts(api, "c") == (0, 0, 0, 0)
    assert data(await api.next("c", 9)) == []
    await clock.advance(180_000)
    assert await counts(api, "c") == (1, 0, 0, 0)
    assert await take(api, "c") == ["is due"]


@pytest.mark.parametrize("fields", DELAYED, ids=["plain", "filtered", "key"])
@pytest.mark.parametrize("policy", ["all", "last", "70s"])
async def test_an_event_that_came_due_after_the_start_of_a_consumer_is_its_own(api: Api, clock: Clock, policy: str, fields: Json) -> None:
    await api.publish("events", [event("was due", deliver_at=in_ms(60_000))])
    await clock.advance(120_000)
    await api.create_consumer(name="c", stream_id="events", deliver_policy=policy, **fields)
    assert await counts(api, "c") == (1, 0, 0, 0)
    assert await take(api, "c") == ["was due"]


async def test_an_event_that_came_due_before_a_time_is_not_of_a_consumer_that_begins_then(api: Api, clock: Clock) -> None:
    await api.publish("events", [event("before", deliver_at=in_ms(60_000)), event("after", deliver_at=in_ms(80_000))])
    start = in_ms(70_000)
    await clock.advance(120_000)
    await api.create_consumer(name="c", stream_id="events", deliver_policy=start)
    assert await take(api, "c") == ["after"]


async def test_c40_a_delayed_event_entered_when_it_came_due_whoever_looks_when(api: Api, clock: Clock) -> None:
    one, two = in_ms(60_000), in_ms(90_000)
    await api.publish("events", [event(2, deliver_at=two), event(1, deliver_at=one)])
    await api.create_consumer(name="c", stream_id="events")
    await clock.advance(300_000)
    await publish_each(api, [3])
    batch = await api.next("c", 9)
    assert data(batch) == [1, 2, 3]
    for row, due in zip(batch["data"], (one, two), strict=False):
        entered = datetime.fromisoformat(row["event"]["inserted_at"]).timestamp()
        assert abs(entered - datetime.fromisoformat(due).timestamp()) < 0.002
    assert [row["event"]["inserted_at"] for row in (await api.messages("events"))["data"]] == [
        row["event"]["inserted_at"] for row in batch["data"]
    ]


async def test_c28_hundreds_that_came_due_before_a_consumer_began_are_not_its_own(api: Api, clock: Clock) -> None:
    await api.publish("events", [event(n, deliver_at=in_ms(60_000)) for n in range(900)])
    await clock.advance(120_000)
    await api.create_consumer(name="c", stream_id="events", deliver_policy="new")
    assert await counts(api, "c") == (0, 0, 0, 0)
    assert (await api.get_stream("events"))["info"]["messages"] == 900
