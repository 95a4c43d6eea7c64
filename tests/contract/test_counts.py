"""The counts are exact, whoever publishes, reads and trims (C28)."""

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.delivering import FILTERS, NOTHING, STREAMS, WAIT, consumer, publish
from tests.contract.helpers import (
    body,
    counted,
    counts,
    data,
    event,
    info,
    plain_ack,
    plain_add,
    plain_read,
    publish_each,
    record,
    take,
    tokens,
)
from tests.support.api import Api, Json
from tests.support.servers import everywhere

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c28_counts_are_exact_all_along(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await publish(api, stream, 1, 2)
    await consumer(api, stream_id=stream, filters=filters, max_deliver=3)
    assert await counts(api, "c") == (2, 0, 0, 0)
    await api.publish(stream, [event(0, "erp:x", id="other"), event(3, id="3"), event(4, id="4")])
    whole = 5 if not filters else 4
    assert await counts(api, "c") == (whole, 0, 0, 0)
    batch = await api.next("c", 2)
    assert batch["info"] == info(whole - 2, 2)
    one, two = tokens(batch)
    await api.nack("c", [one], delay_ms=600_000)
    assert await counts(api, "c") == (whole - 1, 1, 0, 0)
    await clock.advance(WAIT)
    assert await counts(api, "c") == (whole - 1, 1, 0, 0)
    batch = await api.next("c", 1)
    assert (counted(batch), batch["info"]) == ([(2, 2)], info(whole - 1, 1))
    assert await counts(api, "c") == (whole - 1, 1, 0, 1)
    assert await api.ack("c", [two]) == {"acked": 0, "stale": [two]}
    await api.ack("c", tokens(batch))
    assert await counts(api, "c") == (whole - 1, 0, 0, 0)
    assert (await api.next("c", 100))["info"] == info(1, whole - 2)
    await clock.advance(600_000)
    assert (await api.next("c", 100))["info"] == info(0, whole - 1)
    assert await counts(api, "c") == (0, whole - 1, 0, whole - 1)


@pytest.mark.parametrize("filters", FILTERS)
async def test_c28_updates_of_records_count_each_record_once(api: Api, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record(n, 1) for n in "abc"])
    await api.publish("records", [record(n, 2) for n in "ab"])
    assert await counts(api, "c") == (3, 0, 0, 0)
    await api.next("c", 1)  # c
    await api.publish("records", [record("c", 2), record("a", 3), record("a", 3)])
    assert await counts(api, "c") == (3, 1, 0, 0)


async def test_c28_a_record_that_moves_out_of_a_filter_is_not_counted(api: Api) -> None:
    await consumer(api, stream_id="records", filters={"collection_id": "crm:*"})
    await api.create_consumer(name="erp", filters={"provider": "erp"})
    await api.publish("records", [record("a", 1, "crm:x"), record("b", 1, "crm:x")])
    await api.publish("records", [record("a", 2, "erp:x")])
    assert [await counts(api, "c"), await counts(api, "erp")] == [(1, 0, 0, 0), (1, 0, 0, 0)]
    assert [await take(api, "c"), await take(api, "erp")] == [[1], [2]]


@pytest.mark.parametrize("filters", FILTERS)
async def test_c28_plain_entries_are_counted_and_delivered(api: Api, store: Store, filters: Json) -> None:
    await consumer(api, filters=filters)
    await publish_each(api, [1])
    await plain_add(store, "collection_id", "crm:x", "data", "2")
    assert await counts(api, "c") == (2, 0, 0, 0)
    await publish_each(api, [3])
    await plain_add(store, "collection_id", "crm:x", "data", "4")
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([1, 2], info(2, 2))
    await plain_add(store, "collection_id", "crm:x", "data", "5")
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]) == ([3, 4, 5], info(0, 5))


@pytest.mark.parametrize("filters", FILTERS)
async def test_c28_thousands_of_plain_entries_are_counted(api: Api, store: Store, filters: Json) -> None:
    await consumer(api, filters=filters)
    script = "for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'collection_id', 'crm:x', 'data', i) end"
    await store.call("EVAL", script, 1, "broker:{events}:log", 4500)
    await publish_each(api, [4501])
    await store.call("EVAL", script, 1, "broker:{events}:log", 10)
    assert await counts(api, "c") == (4511, 0, 0, 0)
    batch = await api.next("c", 1000)
    assert (data(batch), batch["info"]) == (list(range(1, 1001)), info(3511, 1000))
    idx = [body(row)["updated_idx"] for row in batch["data"]]
    assert idx == list(range(idx[0], idx[0] + 1000))


async def test_a_plain_entry_is_delivered_like_any_other(api: Api, store: Store) -> None:
    await consumer(api)
    added = await plain_add(
        store, "collection_id", "crm:x", "data", '{"a": 1}', "id", "e1", "resource_id", "r", "upstream_id", "u", "event", "updated",
        "key", "k",
    )  # fmt: skip
    (delivery,) = (await api.next("c"))["data"]
    found = delivery["event"]
    inserted_at = found.pop("inserted_at")
    assert (delivery["id"], isinstance(inserted_at, str)) == (added, True)
    assert found == {
        "id": "e1", "collection_id": "crm:x", "provider": "crm", "resource_id": "r", "stream_id": "events", "upstream_id": "u",
        "event": "updated", "data": {"a": 1}, "changes": None, "key": "k", "updated_idx": 1, "upstream_created_at": None,
        "upstream_updated_at": None, "headers": None,
    }  # fmt: skip


async def test_a_plain_entry_has_the_defaults_of_an_event(api: Api, store: Store) -> None:
    await consumer(api)
    await plain_add(store, "collection_id", "crm:x", "data", "null", "upstream_id", "u")
    first = (await api.next("c"))["data"][0]["event"]
    assert {k: first[k] for k in ("resource_id", "upstream_id", "event", "data", "changes", "key")} == {
        "resource_id": None, "upstream_id": "u", "event": "created", "data": None, "changes": None, "key": "u",
    }  # fmt: skip
    assert first["id"]
    assert (await api.messages("events"))["data"][0]["event"] == first


async def test_a_plain_entry_keeps_the_spelling_of_its_data(http: httpx.AsyncClient, store: Store) -> None:
    for raw in (b"1.10", b"1e5", b"1e999", b'{"b":1,"a":[2]}', b'"\\u00e9/"', '"é"'.encode()):
        await plain_add(store, "collection_id", "crm:x", "data", raw)
        assert b'"data":' + raw in (await http.get("/v1/streams/events/messages")).content


async def test_a_plain_reader_shares_the_work(api: Api, store: Store, clock: Clock) -> None:
    await consumer(api, ack_wait_ms=60_000)
    ids = await publish_each(api, [1, 2, 3, 4])
    assert await plain_read(store, "c") == ids[:1]
    assert data(await api.next("c", 1)) == [2]
    assert await plain_read(store, "c") == ids[2:3]
    assert await plain_ack(store, "c", ids[2]) == 1
    await clock.advance(2000)
    assert await counts(api, "c") == (1, 2, 0, 0)
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]) == ([4], info(0, 3))
    await clock.advance(60_000)
    batch = await api.next("c", 9)
    assert counted(batch) == [(1, 2), (2, 2), (4, 2)]
    assert await plain_ack(store, "c", ids[0]) == 1
    assert await api.ack("c", tokens(batch)) == {"acked": 2, "stale": tokens(batch)[:1]}
    assert await counts(api, "c") == (0, 0, 0, 0)


@pytest.mark.parametrize("filters", FILTERS)
async def test_c28_trimmed_entries_are_not_counted(api: Api, filters: Json) -> None:
    await api.create_stream(name="s", kind="events", max_messages=3)
    await consumer(api, stream_id="s", filters=filters)
    await publish_each(api, [1, 2, 3, 4, 5], "s")
    assert await counts(api, "c") == (3, 0, 0, 0)
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([3, 4], info(1, 2))
    await publish_each(api, [6, 7], "s")
    assert await counts(api, "c") == (3, 2, 0, 0)
    assert await api.ack("c", tokens(batch)) == {"acked": 2, "stale": []}
    assert await take(api, "c") == [5, 6, 7]
    assert await counts(api, "c") == (0, 0, 0, 0)


@pytest.mark.parametrize("filters", FILTERS)
async def test_c28_entries_trimmed_by_age_are_not_counted(api: Api, clock: Clock, filters: Json) -> None:
    await api.create_stream(name="s", kind="events", max_age_ms=60_000)
    await consumer(api, stream_id="s", filters=filters)
    await publish_each(api, [1, 2, 3], "s")
    out = tokens(await api.next("c", 2))
    await api.nack("c", out[:1])
    assert await counts(api, "c") == (2, 1, 0, 0)
    await clock.advance(60_001)
    assert await counts(api, "c") == (0, 1, 0, 0)
    assert await api.next("c", 9) == NOTHING
    assert await counts(api, "c") == (0, 0, 0, 0)


@pytest.mark.parametrize("filters", FILTERS)
async def test_c28_a_trimmed_message_is_dropped_when_it_is_nacked_or_expires(api: Api, clock: Clock, filters: Json) -> None:
    await api.create_stream(name="s", kind="events", max_messages=1)
    await consumer(api, stream_id="s", filters=filters)
    await publish_each(api, [1], "s")
    one = tokens(await api.next("c"))
    await publish_each(api, [2], "s")
    assert await api.nack("c", one) == {"nacked": 1, "stale": []}
    assert await counts(api, "c") == (1, 0, 0, 0)
    await api.next("c")
    await publish_each(api, [3], "s")
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(3, 1)], info(0, 1))


async def test_c28_a_message_trimmed_while_it_waits_for_a_retry_is_not_counted(api: Api) -> None:
    await api.create_stream(name="s", kind="events", max_messages=2)
    await consumer(api, stream_id="s")
    await publish_each(api, [1, 2], "s")
    await api.nack("c", tokens(await api.next("c", 2)), delay_ms=60_000)
    await publish_each(api, [3], "s")
    assert await counts(api, "c") == (2, 0, 0, 0)
    assert (await api.next("c", 9))["info"] == info(1, 1)


async def test_c28_thousands_trimmed_while_they_wait_for_a_retry_are_not_counted(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    await consumer(api, stream_id="s", max_ack_pending=10_000)
    for _ in range(5):
        await publish_each(api, list(range(1000)), "s")
        await api.nack("c", tokens(await api.next("c", 1000)), delay_ms=60_000)
    assert await counts(api, "c") == (5000, 0, 0, 0)
    await api.update_stream("s", max_messages=10)
    assert await counts(api, "c") == (10, 0, 0, 0)


@pytest.mark.parametrize("fields", [{}, {"ordering": "key"}, {"filters": {"provider": "crm"}}], ids=["none", "key", "filtered"])
async def test_c3_a_full_redis_can_be_drained_and_looked_at(api: Api, store: Store, clock: Clock, fields: Json) -> None:
    async def later() -> None:
        """Upkeep is due, and what is out has expired. The clock of the tests lies in Redis."""
        await everywhere(store, "CONFIG", "SET", "maxmemory", "0")
        await clock.advance(1500)
        await everywhere(store, "CONFIG", "SET", "maxmemory", "1mb")

    await api.create_consumer(name="c", stream_id="events", max_deliver=2, ack_wait_ms=1000, **fields)
    await publish_each(api, [1, 2, 3, 4])
    assert data(await api.next("c", 1)) == [1]
    try:
        await later()
        assert (await counts(api, "c"))[:3] == (3, 1, 0)
        assert [body(row)["data"] for row in await api.peek("c", 2)] == [1, 2]
        assert data(await api.next("c", 2)) == [1, 2]
        await later()
        assert [body(row)["data"] for row in (await api.dead_letters("c"))["data"]] == [1]
        batch = await api.next("c", 9)
        assert data(batch) == [2, 3, 4]
        assert await api.ack("c", tokens(batch)) == {"acked": 3, "stale": []}
        await later()
        assert await counts(api, "c") == (0, 0, 1, 0)
    finally:
        await everywhere(store, "CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize("lead", ["ack wait", "max_deliver"])
async def test_c28_a_change_of_a_consumer_counts_at_once_for_what_is_out(api: Api, clock: Clock, lead: str) -> None:
    await consumer(api, ack_wait_ms=60_000, max_deliver=3)
    await publish_each(api, [1, 2, 3])
    await api.nack("c", tokens(await api.next("c", 2)), delay_ms=0)
    await api.extend("c", tokens(await api.next("c", 1)))
    assert counted(await api.next("c", 2)) == [(2, 2), (3, 1)]
    await clock.advance(10_000)
    if lead == "ack wait":
        await api.update_consumer("c", ack_wait_ms=5000)
        assert counted(await api.next("c", 9)) == [(1, 3), (2, 3), (3, 2)]
    else:
        await api.update_consumer("c", max_deliver=2)
        assert await counts(api, "c") == (0, 3, 0, 2)
        await clock.advance(50_000)
        assert await counts(api, "c") == (0, 1, 2, 0)
