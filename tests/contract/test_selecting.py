"""Section 5: what a consumer gets: where it starts, and its filters."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from time import time
from typing import Any

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
    one_server,
    plain_add,
    publish_each,
    record,
    take,
)
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio


# Where a consumer starts

T0 = 1_700_000_000_000


async def entries(store: Store, *at: int) -> None:
    """Events whose times are given, in ms; their data are 1, 2, …"""
    for i, ms in enumerate(at):
        await plain_add(store, "collection_id", "crm:a", "data", str(i + 1), at=f"{ms}-{i}")


async def starts(api: Api, expected: dict[str, list[int]]) -> None:
    """The consumers, named by their policies, hold these messages."""
    for i, (policy, values) in enumerate(expected.items()):
        assert await counts(api, f"c{i}") == (len(values), 0, 0, 0), policy
        assert await take(api, f"c{i}") == values, policy
        assert await counts(api, f"c{i}") == (0, 0, 0, 0), policy


async def create_each(api: Api, stream: str, filters: Json, policies: Iterable[str]) -> None:
    for i, policy in enumerate(policies):
        await api.create_consumer(name=f"c{i}", stream_id=stream, deliver_policy=policy, filters=filters)


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_deliver_policy(api: Api, stream: str, filters: Json) -> None:
    expected = {"all": [1, 2, 3], "new": [3], "last": [2, 3], "1h": [1, 2, 3]}
    await api.publish(stream, [event(1, id="1"), event(2, id="2")])
    await create_each(api, stream, filters, expected)
    await api.publish(stream, [event(3, id="3")])
    await starts(api, expected)


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_deliver_policy_of_an_empty_stream(api: Api, stream: str, filters: Json) -> None:
    expected = {policy: [1, 2] for policy in ("all", "new", "last", "90s", "2026-01-31T12:00:00Z")}
    await create_each(api, stream, filters, expected)
    await api.publish(stream, [event(1, id="1"), event(2, id="2")])
    await starts(api, expected)


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_deliver_policy_last_is_the_last_that_matches(api: Api, stream: str) -> None:
    await api.publish(stream, [event(1, id="1"), event(2, id="2"), event(3, "erp:a", id="3")])
    await api.create_consumer(name="c", stream_id=stream, deliver_policy="last", filters={"provider": "crm"})
    await api.publish(stream, [event(4, "erp:a", id="4"), event(5, id="5")])
    assert await take(api, "c") == [2, 5]


async def test_deliver_policy_new_gets_records_that_are_updated_from_now(api: Api) -> None:
    await api.publish("records", [record("a", 1), record("b", 1)])
    await api.create_consumer(name="c", deliver_policy="new")
    await api.publish("records", [record("a", 1), record("b", 2)])
    assert await take(api, "c") == [2]


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
async def test_deliver_policy_of_a_time(api: Api, store: Store, filters: Json) -> None:
    expected = {
        "2023-11-14T22:13:20Z": [2, 3, 4], "2023-11-14T22:13:20.000Z": [2, 3, 4], "2023-11-14T22:13:20.001Z": [4],
        "2023-11-14T22:13:19.999Z": [1, 2, 3, 4], "2023-11-14T23:13:20+01:00": [2, 3, 4], "1970-01-01T00:00:00Z": [1, 2, 3, 4],
        "2099-01-01T00:00:00Z": [],
    }  # fmt: skip
    await entries(store, T0 - 1, T0, T0, T0 + 1000)
    await create_each(api, "events", filters, expected)
    await starts(api, expected)


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
async def test_deliver_policy_of_a_window(api: Api, store: Store, filters: Json) -> None:
    expected = {"90s": [4], "15m": [3, 4], "1h": [3, 4], "7d": [2, 3, 4], "30d": [1, 2, 3, 4]}
    now = await now_ms(store)
    await entries(store, now - 20 * 86_400_000, now - 2 * 3_600_000, now - 10 * 60_000, now)
    await create_each(api, "events", filters, expected)
    await starts(api, expected)


async def test_deliver_policy_of_a_window_goes_by_redis_clock(api: Api, clock: Clock) -> None:
    await publish_each(api, [1, 2])
    await clock.advance(120_000)
    await api.create_consumer(name="short", stream_id="events", deliver_policy="90s")
    await api.create_consumer(name="long", stream_id="events", deliver_policy="5m")
    assert [await take(api, "short"), await take(api, "long")] == [[], [1, 2]]


@pytest.mark.parametrize("fields", [{}, {"ordering": "key"}, {"filters": {"provider": "crm"}}], ids=["none", "key", "filtered"])
async def test_deliver_policy_of_a_time_yet_to_come_counts_nothing_before_it(api: Api, fields: Json) -> None:
    await publish_each(api, [1])
    await api.create_consumer(name="c", stream_id="events", deliver_policy="2999-01-01T00:00:00Z", **fields)
    for value in (2, 3):
        await publish_each(api, [value])
        assert await counts(api, "c") == (0, 0, 0, 0)
        assert (await api.next("c", 1))["info"] == {"num_pending": 0, "num_ack_pending": 0}
        assert await counts(api, "c") == (0, 0, 0, 0)


async def test_deliver_policy_of_a_time_is_kept_as_given(api: Api) -> None:
    given = "2026-01-31T12:00:00+02:00"
    assert (await api.create_consumer(name="c", deliver_policy=given))["deliver_policy"] == given
    later = datetime.now(UTC).isoformat()
    with pytest.raises(Refused, match="422"):
        await api.update_consumer("c", deliver_policy=later)


# Filters

SOURCES: list[tuple[str, str | None]] = [
    ("salesforce:contacts", "r1"), ("salesforce:accounts", "r2"), ("salesforce", None), ("sales:x", "r1"), ("hubspot:contacts", None),
    ("a:b:c", "R1"), ("ä:ü", "r10"),
]  # fmt: skip


FILTERS: list[tuple[Json, list[int]]] = [
    ({}, [0, 1, 2, 3, 4, 5, 6]),
    ({"provider": "*"}, [0, 1, 2, 3, 4, 5, 6]),
    ({"resource_id": "*"}, [0, 1, 2, 3, 4, 5, 6]),
    ({"provider": ["x", "*"]}, [0, 1, 2, 3, 4, 5, 6]),
    ({"provider": "salesforce"}, [0, 1, 2]),
    ({"provider": "sales"}, [3]),
    ({"provider": "sales*"}, [0, 1, 2, 3]),
    ({"provider": "a"}, [5]),
    ({"provider": "salesforce:contacts"}, []),
    ({"collection_id": "salesforce"}, [2]),
    ({"collection_id": "salesforce:*"}, [0, 1]),
    ({"collection_id": "salesforce*"}, [0, 1, 2]),
    ({"collection_id": ["hubspot:contacts", "a:*"]}, [4, 5]),
    ({"collection_id": ["hubspot:contacts", "hubspot:*", "hub*"]}, [4]),
    ({"collection_id": "ä:*"}, [6]),
    ({"collection_id": "ä:ü"}, [6]),
    ({"resource_id": "r1"}, [0, 3]),
    ({"sync_id": "r1"}, [0, 3]),
    ({"resource_id": "r1*"}, [0, 3, 6]),
    ({"sync_id": ["r2", "R*"]}, [1, 5]),
    ({"provider": "salesforce", "resource_id": "r1"}, [0]),
    ({"provider": ["sales", "a"], "sync_id": ["r1", "R1"]}, [3, 5]),
    ({"provider": "salesforce", "collection_id": "hubspot:*"}, []),
    ({"provider": "salesforce", "collection_id": "*", "resource_id": "r*"}, [0, 1]),
    ({"provider": "h*", "collection_id": ["x", "y:*", "hubspot:*"]}, [4]),
]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_filters(api: Api, stream: str, late: bool) -> None:
    async def publish() -> None:
        messages: list[Json] = [event(i, c, id=str(i), resource_id=r) for i, (c, r) in enumerate(SOURCES)]
        await api.publish(stream, messages)

    if late:
        await publish()
    for i, (filters, _) in enumerate(FILTERS):
        await api.create_consumer(name=f"c{i}", stream_id=stream, filters=filters)
    if not late:
        await publish()
    for i, (filters, expected) in enumerate(FILTERS):
        assert await counts(api, f"c{i}") == (len(expected), 0, 0, 0), filters
        batch = await api.next(f"c{i}", 100)
        assert (data(batch), batch["info"]) == (expected, info(0, len(expected))), filters


async def test_filters_hold_for_plain_entries(api: Api, store: Store) -> None:
    await plain_add(store, "collection_id", "crm:a", "data", "1", "resource_id", "r")
    await api.create_consumer(name="c", stream_id="events", filters={"collection_id": "crm:*", "resource_id": "r"})
    await plain_add(store, "data", "2", "resource_id", "r", "collection_id", "crm:b")
    await plain_add(store, "collection_id", "crm:b", "data", "3")
    await plain_add(store, "collection_id", "erp:b", "data", "4", "resource_id", "r")
    await publish_each(api, [5], resource_id="r")
    assert await counts(api, "c") == (3, 0, 0, 0)
    assert await take(api, "c") == [1, 2, 5]


async def test_many_filters_each_get_theirs(api: Api) -> None:
    filters: list[dict[str, Any]] = [{"collection_id": f"p{i}:*"} for i in range(30)] + [{"provider": f"p{i}"} for i in range(30)]
    for i, wanted in enumerate(filters):
        await api.create_consumer(name=f"c{i}", stream_id="events", filters=wanted)
    await api.publish("events", [event(i, f"p{i % 30}:x") for i in range(60)])
    for i in range(60):
        assert await take(api, f"c{i}") == [i % 30, i % 30 + 30]


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_a_batch_that_many_filters_match_reaches_each_of_them_exactly(api: Api, stream: str) -> None:
    """What the publish left to be indexed is neither missed nor counted wrongly, in whatever order consumers ask (C28, C32)."""
    count, filters = 200, 20

    async def publish(version: int) -> None:
        ids = [f"{version}-{n}" if stream == "events" else str(n) for n in range(count)]
        await api.publish(stream, [event(n + version, f"p{n % 50}:{n}", id=ids[n]) for n in range(count)])

    async def create(n: int) -> None:
        patterns = ["p*", f"only:{n}"] if n % 2 else [f"p{i}:*" for i in range(n, 50)]
        await api.create_consumer(name=f"c{n}", stream_id=stream, filters={"collection_id": patterns})

    def wanted(n: int, version: int) -> list[int]:
        return [i + version for i in range(count) if n % 2 or i % 50 >= n]

    await api.create_consumer(name="all", stream_id=stream)
    for n in range(filters):
        await create(n)
    await publish(1000)
    assert (await api.next("all"))["info"] == info(count - 1, 1)
    assert await counts(api, "c7") == (count, 0, 0, 0)
    taken = await take(api, "c8", 10)
    assert taken == wanted(8, 1000)[:10]
    await create(filters)  # while others wait for their places
    await publish(5000)

    def held(n: int) -> list[int]:
        return [*wanted(n, 1000), *wanted(n, 5000)] if stream == "events" else wanted(n, 5000)

    assert await take(api, "c8", 1000) == held(8)[10 * (stream == "events") :]
    await api.delete_consumer("c9")
    await create(9)
    for n in sorted({*range(filters + 1)} - {8}, reverse=True):
        assert await counts(api, f"c{n}") == (len(held(n)), 0, 0, 0)
        assert await take(api, f"c{n}", 1000) == held(n)


async def test_a_filter_that_is_used_anew_sees_what_came_in_between(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events", filters={"provider": "crm"})
    await publish_each(api, [1])
    await api.delete_consumer("c")
    await publish_each(api, [2])
    await api.create_consumer(name="c", stream_id="events", filters={"provider": "crm"})
    await publish_each(api, [3])
    assert await take(api, "c") == [1, 2, 3]


@one_server
@pytest.mark.parametrize("pattern", ["*a", "a*b", "**", "a**"])
async def test_c18_a_star_elsewhere_than_at_the_end_of_a_filter_is_refused(api: Api, pattern: str) -> None:
    for filters, field in (({"provider": pattern}, "filters.provider"), ({"sync_id": ["a*", pattern]}, "filters.sync_id[1]")):
        with pytest.raises(Refused) as refusal:
            await api.create_consumer(name="c", filters=filters)
        assert (refusal.value.status, refusal.value.errors) == (422, {field: ["a * may stand at the end only"]})
    assert (await api.list_consumers())["data"] == []


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
