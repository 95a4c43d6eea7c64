"""Section 6: next, ack, nack."""

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from broker import Store
from tests.conftest import Clock
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
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

FILTERS: list[Json] = [{}, {"provider": "crm"}]
STREAMS = ["events", "records"]
NOTHING: Json = {"data": [], "info": {"num_pending": 0, "num_ack_pending": 0}}
WAIT = 1000


async def consumer(api: Api, **fields: Any) -> None:
    """The consumer `c`, of events with a short ack wait unless told otherwise."""
    await api.create_consumer(**{"name": "c", "stream_id": "events", "ack_wait_ms": WAIT} | fields)


async def publish(api: Api, stream: str, *values: int) -> None:
    """One message a value; the value is its id too."""
    await api.publish(stream, [event(v, id=str(v)) for v in values])


# C20


@pytest.mark.parametrize(("stream", "label"), [("events", "event"), ("records", "record")])
async def test_c20_a_delivery_holds_a_record_or_an_event(api: Api, stream: str, label: str) -> None:
    await consumer(api, stream_id=stream)
    published = await api.publish(stream, [event({"x": 1}, id="1")])
    (delivery,) = (await api.next("c"))["data"]
    assert set(delivery) == {"ack_token", "id", "deliver_count", label}
    assert (delivery["id"], delivery["deliver_count"]) == (published["data"][0]["message_id"], 1)
    assert isinstance(delivery["ack_token"], str)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c20_nothing_to_deliver_is_an_empty_answer(api: Api, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    assert await api.next("c", 100) == NOTHING
    await publish(api, stream, 1)
    await take(api, "c")
    assert await api.next("c", 100) == NOTHING


async def test_c20_an_unknown_consumer(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    (token,) = tokens(await api.next("c"))
    for call in (api.next("none"), api.ack("none", [token]), api.nack("none", [token])):
        with pytest.raises(Refused) as refusal:
            await call
        assert (refusal.value.status, refusal.value.code) == (404, "CONSUMER_NOT_FOUND")


# C21


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c21_new_messages_come_in_stream_order_in_batches(api: Api, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    await publish(api, stream, *range(5))
    batches = [await api.next("c", 2) for _ in range(4)]
    assert [counted(b) for b in batches] == [[(0, 1), (1, 1)], [(2, 1), (3, 1)], [(4, 1)], []]
    assert [b["info"] for b in batches] == [info(3, 2), info(1, 4), info(0, 5), info(0, 5)]


async def test_c21_one_message_unless_told(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(i) for i in range(4)]})
    assert data((await http.get("/v1/http-consumers/c/next")).json()) == [0]
    assert data((await http.post("/v1/http-consumers/c/next")).json()) == [1]
    assert data((await http.post("/v1/http-consumers/c/next", json={"batch_size": 2})).json()) == [2, 3]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c21_redeliveries_come_first_each_group_in_stream_order(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    await publish(api, stream, 1, 2, 3, 4, 5, 6)
    out = tokens(await api.next("c", 4))
    await clock.advance(WAIT)  # 1 and 3 expire
    await api.nack("c", [out[3], out[1]])
    assert counted(await api.next("c", 1)) == [(1, 2)]
    assert counted(await api.next("c", 4)) == [(2, 2), (3, 2), (4, 2), (5, 1)]
    assert counted(await api.next("c", 4)) == [(6, 1)]


async def test_c21_redeliveries_of_all_ages_are_in_stream_order(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish(api, "events", *range(6))
    first = await api.next("c", 6)
    await clock.advance(WAIT)
    assert counted(await api.next("c", 3)) == [(0, 2), (1, 2), (2, 2)]
    await api.nack("c", tokens(first)[3:4], delay_ms=500)
    await clock.advance(WAIT)
    assert counted(await api.next("c", 9)) == [(0, 3), (1, 3), (2, 3), (3, 2), (4, 2), (5, 2)]


async def test_c21_a_batch_has_at_most_batch_size(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, list(range(1000)))
    await api.next("c", 900)
    await clock.advance(WAIT)
    for size in (1, 10, 1000):
        assert len((await api.next("c", size))["data"]) == min(size, 1000 - 11)


async def test_c21_min_batch_gives_what_there_is_when_the_wait_is_over(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    assert data(await api.next("c", 10, min_batch=5)) == [1, 2]
    assert await api.next("c", 10, min_batch=5) == {"data": [], "info": info(0, 2)}


async def test_c21_min_batch_is_met_at_once_where_there_is_enough(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1, 2, 3, 4])
    with anyio.fail_after(30):
        assert data(await api.next("c", 3, min_batch=3, wait_ms=300_000)) == [1, 2, 3]


async def test_c21_min_batch_counts_redeliveries(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    await api.nack("c", tokens(await api.next("c", 1)))
    await api.next("c", 1)
    await clock.advance(WAIT)
    with anyio.fail_after(30):
        assert counted(await api.next("c", 9, min_batch=2, wait_ms=300_000)) == [(1, 3), (2, 1)]


async def test_c21_a_waiting_call_is_answered_when_messages_come(api: Api) -> None:
    await consumer(api)
    waiting = asyncio.create_task(api.next("c", 5, wait_ms=300_000))
    with anyio.fail_after(30):
        await publish_each(api, [1])
        assert counted(await waiting) == [(1, 1)]


@pytest.mark.parametrize("filters", FILTERS)
async def test_c21_waiting_reserves_nothing(api: Api, filters: Json) -> None:
    await consumer(api, filters=filters)
    waiting = asyncio.create_task(api.next("c", 5, min_batch=3, wait_ms=300_000))
    with anyio.fail_after(30):
        await publish_each(api, [1, 2])
        assert data(await api.next("c", 5)) == [1, 2]
        await publish_each(api, [3])
        assert await counts(api, "c") == (1, 2, 0, 0)
        await publish_each(api, [4, 5])
        batch = await waiting
    assert (data(batch), batch["info"]) == ([3, 4, 5], info(0, 5))


async def test_c21_a_waiting_call_is_answered_when_a_message_is_nacked(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    out = tokens(await api.next("c"))
    waiting = asyncio.create_task(api.next("c", wait_ms=300_000))
    with anyio.fail_after(30):
        await api.nack("c", out)
        assert counted(await waiting) == [(1, 2)]


async def test_c21_a_waiting_call_is_answered_when_an_ack_makes_room(api: Api) -> None:
    await consumer(api, max_ack_pending=1)
    await publish_each(api, [1, 2])
    out = tokens(await api.next("c"))
    waiting = asyncio.create_task(api.next("c", wait_ms=300_000))
    with anyio.fail_after(30):
        await api.ack("c", out)
        assert counted(await waiting) == [(2, 1)]


async def test_c21_a_client_that_goes_away_takes_nothing_with_it(api: Api) -> None:
    await consumer(api)
    waiting = asyncio.create_task(api.next("c", 5, wait_ms=300_000))
    with anyio.fail_after(30):
        await api.get_consumer("c")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await publish_each(api, [1])
        assert await counts(api, "c") == (1, 0, 0, 0)
        assert counted(await api.next("c")) == [(1, 1)]


async def test_c21_many_waiting_calls_share_what_comes(api: Api) -> None:
    await consumer(api)
    waiting = [asyncio.create_task(api.next("c", 2, wait_ms=300_000)) for _ in range(10)]
    with anyio.fail_after(30):
        await publish_each(api, list(range(20)))
        batches = await asyncio.gather(*waiting)
    assert sorted(value for batch in batches for value in data(batch)) == list(range(20))


async def test_c21_a_deleted_consumer_ends_its_waiting_calls(api: Api) -> None:
    await consumer(api)
    waiting = asyncio.create_task(api.next("c", wait_ms=300_000))
    with anyio.fail_after(30):
        await api.get_consumer("c")
        await api.delete_consumer("c")
        with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
            await waiting


OUT_OF_RANGE: list[Json] = [
    {"batch_size": 0}, {"batch_size": 1001}, {"batch_size": -1}, {"batch_size": "x"}, {"batch_size": "1.5"}, {"batch_size": ""},
    {"min_batch": 0}, {"min_batch": 2}, {"batch_size": 5, "min_batch": 6}, {"min_batch": "x"}, {"wait_for": -1}, {"wait_for": 300001},
    {"wait_for": "x"},
]  # fmt: skip


async def test_c21_a_number_out_of_range_is_an_invalid_request(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    path = "/v1/http-consumers/c/next"
    for asked in OUT_OF_RANGE:
        for reply in (await http.get(path, params=asked), await http.post(path, json=asked)):
            assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST"), asked


async def test_c21_a_body_of_another_type_is_an_invalid_request(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    bodies: list[Any] = [{"batch_size": True}, {"batch_size": 1.5}, {"batch_size": [1]}, {"wait_for": True}, [], 7]
    for asked in bodies:
        reply = await http.post("/v1/http-consumers/c/next", json=asked)
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST"), asked


# C22


async def test_c22_an_unsettled_delivery_is_delivered_again_when_its_ack_wait_is_over(api: Api, clock: Clock) -> None:
    await consumer(api)
    await api.publish("events", [{"collection_id": "a:b", "data": 1}])
    first = await api.next("c", 10)
    await clock.advance(999 - 500)
    assert (await api.next("c", 10))["data"] == []
    await clock.advance(501)
    second = await api.next("c", 10)
    assert [d["deliver_count"] for d in second["data"]] == [2]
    assert second["info"] == {"num_pending": 0, "num_ack_pending": 1}
    assert await api.ack("c", [first["data"][0]["ack_token"]]) == {"acked": 0, "stale": [first["data"][0]["ack_token"]]}
    assert (await api.ack("c", [second["data"][0]["ack_token"]]))["acked"] == 1


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c22_each_redelivery_counts_one_more_and_has_a_new_token(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    await publish(api, stream, 1)
    seen = []
    for number in range(1, 6):
        batch = await api.next("c")
        assert counted(batch) == [(1, number)]
        seen += tokens(batch)
        await clock.advance(WAIT)
    assert len(set(seen)) == 5


async def test_c22_the_ack_wait_begins_anew_with_each_delivery(api: Api, clock: Clock) -> None:
    await consumer(api, ack_wait_ms=10_000)
    await publish(api, "events", 1)
    await api.next("c")
    await clock.advance(10_000)
    await api.next("c")
    await clock.advance(9_000)
    assert await api.next("c") == {"data": [], "info": info(0, 1)}
    await clock.advance(1_000)
    assert counted(await api.next("c")) == [(1, 3)]


async def test_c22_each_delivery_expires_by_its_own_time(api: Api, clock: Clock) -> None:
    await consumer(api, ack_wait_ms=10_000)
    await publish(api, "events", 1, 2, 3)
    for _ in range(3):
        await api.next("c")
        await clock.advance(4_000)
    assert counted(await api.next("c", 9)) == [(1, 2)]
    await clock.advance(4_000)
    assert counted(await api.next("c", 9)) == [(2, 2)]
    await clock.advance(4_000)
    assert counted(await api.next("c", 9)) == [(3, 2)]
    await clock.advance(4_000)
    assert counted(await api.next("c", 9)) == [(1, 3)]


async def test_c22_a_large_number_of_deliveries_expires_whole(api: Api, clock: Clock) -> None:
    await consumer(api, max_ack_pending=10_000)
    for start in range(0, 3000, 1000):
        await publish_each(api, list(range(start, start + 1000)))
        await api.next("c", 1000)
    await clock.advance(WAIT)
    seen: list[Any] = []
    for _ in range(3):
        seen += counted(await api.next("c", 1000))
    assert seen == [(i, 2) for i in range(3000)]
    assert await counts(api, "c") == (0, 3000, 0, 3000)


async def test_c22_an_expired_delivery_behind_many_fresh_ones_is_found(api: Api, clock: Clock) -> None:
    await consumer(api, max_ack_pending=10_000, ack_wait_ms=10_000)
    await publish_each(api, list(range(1000)))
    await publish_each(api, list(range(1000, 1500)))
    first = await api.next("c", 1000)
    second = await api.next("c", 500)
    await api.nack("c", tokens(first))
    await clock.advance(9_000)
    await api.next("c", 1000)
    await clock.advance(1_500)
    batch = await api.next("c", 1000)
    assert counted(batch) == [(i, 2) for i in range(1000, 1500)]
    assert (await api.ack("c", tokens(second)))["acked"] == 0


# C23


async def test_c23_workers_that_call_at_once_never_share_a_delivery(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, list(range(40)))
    for number in (1, 2, 3):
        batches = await asyncio.gather(*(api.next("c", 3) for _ in range(20)))
        assert sorted(row for batch in batches for row in counted(batch)) == [(i, number) for i in range(40)]
        await clock.advance(WAIT)


async def test_c23_only_one_of_many_acks_of_a_delivery_counts(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    out = tokens(await api.next("c"))
    answers = await asyncio.gather(*(api.ack("c", out) for _ in range(5)), *(api.nack("c", out) for _ in range(5)))
    assert sum(answer.get("acked", 0) + answer.get("nacked", 0) for answer in answers) == 1


# C24


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c24_an_acked_message_never_comes_back(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    await publish(api, stream, 1, 2, 3)
    batch = await api.next("c", 3)
    assert await api.ack("c", tokens(batch)[:2]) == {"acked": 2, "stale": []}
    await clock.advance(WAIT)
    assert counted(await api.next("c", 9)) == [(3, 2)]


async def test_c24_a_settled_delivery_is_stale(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    one, two = tokens(await api.next("c", 2))
    assert await api.ack("c", [one]) == {"acked": 1, "stale": []}
    assert await api.ack("c", [one, two]) == {"acked": 1, "stale": [one]}
    assert await api.ack("c", [one, two]) == {"acked": 0, "stale": [one, two]}
    assert await api.nack("c", [two, one]) == {"nacked": 0, "stale": [two, one]}
    assert await counts(api, "c") == (0, 0, 0, 0)


async def test_c24_a_nacked_delivery_is_stale(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    (one,) = tokens(await api.next("c"))
    assert await api.nack("c", [one]) == {"nacked": 1, "stale": []}
    assert await api.nack("c", [one]) == {"nacked": 0, "stale": [one]}
    assert await api.ack("c", [one]) == {"acked": 0, "stale": [one]}
    assert await counts(api, "c") == (1, 0, 0, 0)
    (two,) = tokens(await api.next("c"))
    assert await api.ack("c", [one]) == {"acked": 0, "stale": [one]}
    assert await api.nack("c", [one], delay_ms=5000) == {"nacked": 0, "stale": [one]}
    assert await counts(api, "c") == (0, 1, 0, 1)
    assert await api.ack("c", [two]) == {"acked": 1, "stale": []}


async def test_c24_an_expired_and_redelivered_delivery_is_stale(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1])
    (one,) = tokens(await api.next("c"))
    await clock.advance(WAIT)
    (two,) = tokens(await api.next("c"))
    assert await api.nack("c", [one]) == {"nacked": 0, "stale": [one]}
    assert await api.ack("c", [one]) == {"acked": 0, "stale": [one]}
    assert await api.ack("c", [two]) == {"acked": 1, "stale": []}


async def test_c24_one_token_twice_in_a_list_settles_once(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    one, two = tokens(await api.next("c", 2))
    assert await api.ack("c", [one, two, one]) == {"acked": 2, "stale": [one]}


async def test_c24_a_token_of_another_consumer_is_stale(api: Api) -> None:
    for name, stream in (("c", "events"), ("d", "events"), ("r", "records")):
        await api.create_consumer(name=name, stream_id=stream)
    await publish_each(api, [1])
    await api.publish("records", [record("a", 1)])
    of = {name: tokens(await api.next(name))[0] for name in "cdr"}
    assert await api.ack("c", [of["d"], of["c"], of["r"]]) == {"acked": 1, "stale": [of["d"], of["r"]]}
    assert [(await counts(api, name))[1] for name in "cdr"] == [0, 1, 1]


@pytest.mark.parametrize("stream", STREAMS)
async def test_c24_a_token_of_a_recreated_consumer_is_stale(api: Api, stream: str) -> None:
    await consumer(api, stream_id=stream)
    await publish(api, stream, 1)
    (old,) = tokens(await api.next("c"))
    await api.delete_consumer("c")
    with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
        await api.ack("c", [old])
    await consumer(api, stream_id=stream)
    (new,) = tokens(await api.next("c"))
    assert old != new
    assert await api.ack("c", [old]) == {"acked": 0, "stale": [old]}
    assert await api.nack("c", [old]) == {"nacked": 0, "stale": [old]}
    assert await api.ack("c", [new]) == {"acked": 1, "stale": []}


async def test_c24_a_token_of_a_recreated_stream_is_stale(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    (old,) = tokens(await api.next("c"))
    await api.delete_stream("events", force=True)
    await api.create_stream(name="events", kind="events")
    await consumer(api)
    await publish_each(api, [1])
    (new,) = tokens(await api.next("c"))
    assert await api.ack("c", [old, new]) == {"acked": 1, "stale": [old]}


@pytest.mark.parametrize("settle", ["ack", "nack"])
async def test_c24_a_string_that_is_no_token_settles_nothing(api: Api, settle: str) -> None:
    await consumer(api)
    await publish_each(api, [1])
    (one,) = tokens(await api.next("c"))
    wrong = ["", "x", "ack", one[:-1], one + "A", one + "=", " " + one, one + "\n", "ä", "k5MBAgM=", "*" * 20]
    wrong += [one.replace("-", "."), one.replace(".", "-"), one.replace(".1.", ".01."), one.replace(".1.", ".-1."), f"{one} {one}"]
    for text in wrong:
        with pytest.raises(Refused) as refusal:
            await (api.ack if settle == "ack" else api.nack)("c", [one, text])
        assert (refusal.value.status, refusal.value.code) == (400, "INVALID_ACK_TOKEN"), text
    assert await counts(api, "c") == (0, 1, 0, 0)
    assert await api.ack("c", [one]) == {"acked": 1, "stale": []}


@pytest.mark.parametrize("settle", ["ack", "nack"])
async def test_c24_what_is_no_list_of_tokens_settles_nothing(http: httpx.AsyncClient, settle: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
    (one,) = tokens((await http.get("/v1/http-consumers/c/next")).json())
    lists: list[Any] = [[], one, {one: 1}, None, 7, [one, 7], [one, None], [[one]], [one] * 1001]
    for body_ in ({"ack_tokens": value} for value in lists):
        reply = await http.post(f"/v1/http-consumers/c/{settle}", json=body_)
        assert (reply.status_code, reply.json()["code"]) in ((400, "INVALID_REQUEST"), (400, "INVALID_ACK_TOKEN"))
    assert (await http.post(f"/v1/http-consumers/c/{settle}", json={})).status_code == 400
    assert (await http.get("/v1/http-consumers/c")).json()["info"]["num_ack_pending"] == 1


async def test_c24_a_list_may_have_1000_tokens_in_any_order(api: Api) -> None:
    await consumer(api)
    await publish_each(api, list(range(1000)))
    out = tokens(await api.next("c", 1000))
    assert await api.ack("c", out[::-2]) == {"acked": 500, "stale": []}
    assert await api.ack("c", out) == {"acked": 500, "stale": out[1::2]}
    assert await counts(api, "c") == (0, 0, 0, 0)


async def test_c24_tokens_of_messages_far_apart_are_settled(api: Api) -> None:
    await consumer(api)
    await publish_each(api, list(range(1000)))
    out = tokens(await api.next("c", 1000))
    assert await api.ack("c", [out[999], out[0], out[500]]) == {"acked": 3, "stale": []}
    assert (await counts(api, "c"))[1] == 997


# C25


@pytest.mark.parametrize("settle", ["ack", "nack"])
async def test_c25_a_late_settle_before_redelivery_still_counts(api: Api, clock: Clock, settle: str) -> None:
    await consumer(api)
    await publish_each(api, [1])
    out = tokens(await api.next("c"))
    await clock.advance(100 * WAIT)
    assert await counts(api, "c") == (0, 1, 0, 0)
    if settle == "ack":
        assert await api.ack("c", out) == {"acked": 1, "stale": []}
        assert await api.next("c") == NOTHING
    else:
        assert await api.nack("c", out) == {"nacked": 1, "stale": []}
        assert counted(await api.next("c")) == [(1, 2)]


# C26


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c26_a_nacked_message_is_deliverable_at_once(api: Api, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    await publish(api, stream, 1, 2)
    out = tokens(await api.next("c"))
    assert await api.nack("c", out) == {"nacked": 1, "stale": []}
    assert await counts(api, "c") == (2, 0, 0, 0)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(1, 2), (2, 1)], info(0, 2))
    assert tokens(batch)[0] != out[0]


async def test_c26_a_delay_is_waited_out(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1])
    await api.nack("c", tokens(await api.next("c")), delay_ms=60_000)
    assert await api.next("c") == {"data": [], "info": info(1, 0)}
    await clock.advance(55_000)
    assert await api.next("c") == {"data": [], "info": info(1, 0)}
    await clock.advance(5_000)
    batch = await api.next("c")
    assert (counted(batch), batch["info"]) == ([(1, 2)], info(0, 1))


async def test_c26_backoff_follows_the_deliver_count_and_its_last_repeats(api: Api, clock: Clock) -> None:
    await consumer(api, backoff_ms=[0, 10_000, 30_000])
    await publish_each(api, [1])
    for number, delay in ((1, 0), (2, 10_000), (3, 30_000), (4, 30_000)):
        batch = await api.next("c")
        assert counted(batch) == [(1, number)]
        await api.nack("c", tokens(batch))
        if delay:
            await clock.advance(delay - 5_000)
            assert data(await api.next("c")) == []
            await clock.advance(5_000)
    assert counted(await api.next("c")) == [(1, 5)]


async def test_c26_a_delay_goes_before_the_backoff(api: Api, clock: Clock) -> None:
    await consumer(api, backoff_ms=[60_000])
    await publish_each(api, [1])
    await api.nack("c", tokens(await api.next("c")), delay_ms=0)
    batch = await api.next("c")
    assert counted(batch) == [(1, 2)]
    await api.nack("c", tokens(batch), delay_ms=100_000)
    await clock.advance(90_000)
    assert data(await api.next("c")) == []
    await clock.advance(10_000)
    assert counted(await api.next("c")) == [(1, 3)]


async def test_backoff_applies_to_an_expiry_too(api: Api, clock: Clock) -> None:
    await consumer(api, ack_wait_ms=10_000, backoff_ms=[20_000, 40_000])
    await publish_each(api, [1])
    for number, delay in ((1, 30_000), (2, 50_000), (3, 50_000)):
        assert counted(await api.next("c")) == [(1, number)]
        await clock.advance(delay - 5_000)
        assert data(await api.next("c")) == []
        await clock.advance(5_000)
    assert counted(await api.next("c")) == [(1, 4)]


async def test_c26_messages_with_several_delays_come_as_they_are_due(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1, 2, 3])
    one, two, three = tokens(await api.next("c", 3))
    await api.nack("c", [one], delay_ms=30_000)
    await api.nack("c", [two], delay_ms=10_000)
    await api.nack("c", [three], delay_ms=20_000)
    await clock.advance(10_000)
    assert counted(await api.next("c", 9)) == [(2, 2)]
    await clock.advance(20_000)
    assert counted(await api.next("c", 9)) == [(1, 2), (2, 3), (3, 2)]


async def test_c26_new_messages_flow_past_a_delayed_one(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    await api.nack("c", tokens(await api.next("c")), delay_ms=60_000)
    assert counted(await api.next("c", 9)) == [(2, 1)]


@pytest.mark.parametrize("delay", [-1, 604_800_001, "x", 1.5, True])
async def test_c26_a_delay_out_of_range_nacks_nothing(http: httpx.AsyncClient, delay: object) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
    out = tokens((await http.get("/v1/http-consumers/c/next")).json())
    reply = await http.post("/v1/http-consumers/c/nack", json={"ack_tokens": out, "delay_ms": delay})
    assert reply.status_code in (400, 422)
    assert (await http.get("/v1/http-consumers/c")).json()["info"]["num_ack_pending"] == 1


# C27


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c27_a_message_is_dead_when_its_last_delivery_is_nacked(api: Api, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters, max_deliver=2)
    await publish(api, stream, 1, 2)
    await api.nack("c", tokens(await api.next("c", 1)))
    last = await api.next("c", 1)
    assert counted(last) == [(1, 2)]
    assert await api.nack("c", tokens(last), delay_ms=5000) == {"nacked": 1, "stale": []}
    assert await counts(api, "c") == (1, 0, 1, 0)
    (letter,) = (await api.dead_letters("c"))["data"]
    assert (body(letter)["data"], letter["deliver_count"], letter["reason"]) == (1, 2, "max_deliver")
    assert counted(await api.next("c", 9)) == [(2, 1)]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c27_a_message_is_dead_when_its_last_delivery_expires(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters, max_deliver=2)
    await publish(api, stream, 1)
    for _ in range(2):
        await api.next("c")
        await clock.advance(WAIT)
    assert await counts(api, "c") == (0, 0, 1, 0)
    assert await api.next("c") == NOTHING
    assert [body(row)["data"] for row in (await api.dead_letters("c"))["data"]] == [1]


async def test_c27_next_itself_makes_the_expired_ones_dead(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1, max_ack_pending=2)
    await publish_each(api, [1, 2, 3, 4, 5])
    for expected in ([1, 2], [3, 4], [5], []):
        batch = await api.next("c", 9)
        assert data(batch) == expected
        await clock.advance(WAIT)
    assert await counts(api, "c") == (0, 0, 5, 0)


async def test_c27_backoff_does_not_hold_up_death(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1, backoff_ms=[600_000])
    await publish_each(api, [1])
    await api.next("c")
    await clock.advance(WAIT)
    assert await counts(api, "c") == (0, 0, 1, 0)


async def test_c27_an_ack_of_the_last_delivery_counts(api: Api) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    assert await take(api, "c") == [1]
    assert await counts(api, "c") == (0, 0, 0, 0)


async def test_c27_a_dead_letter_is_the_matter_of_one_consumer(api: Api) -> None:
    await consumer(api, max_deliver=1)
    await api.create_consumer(name="d", stream_id="events")
    await publish_each(api, [1])
    await api.nack("c", tokens(await api.next("c")))
    assert [(await counts(api, name))[2] for name in "cd"] == [1, 0]
    assert await take(api, "d") == [1]
    assert data(await api.messages("events")) == [1]


async def test_c27_a_token_of_a_dead_message_is_stale(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    out = tokens(await api.next("c"))
    await clock.advance(WAIT)
    assert data(await api.next("c")) == []
    assert await api.ack("c", out) == {"acked": 0, "stale": out}
    assert await api.nack("c", out) == {"nacked": 0, "stale": out}
    assert await counts(api, "c") == (0, 0, 1, 0)


async def test_c27_without_a_limit_nothing_dies(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    for number in range(1, 30):
        batch = await api.next("c")
        assert counted(batch) == [(1, number)]
        await api.nack("c", tokens(batch))
    assert await counts(api, "c") == (1, 0, 0, 0)


async def test_c27_many_deaths_at_once_are_all_counted(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=2)
    await publish_each(api, list(range(300)))
    await api.next("c", 300)
    await clock.advance(WAIT)
    assert len((await api.next("c", 200))["data"]) == 200
    await clock.advance(WAIT)  # 200 have had their last delivery, 100 wait for it
    assert await counts(api, "c") == (0, 100, 200, 0)
    batch = await api.next("c", 300)
    assert counted(batch) == [(i, 2) for i in range(200, 300)]
    assert batch["info"] == info(0, 100)


async def test_c27_next_passes_over_many_deaths(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1, max_ack_pending=5000)
    await publish_each(api, list(range(1000)))
    await publish_each(api, list(range(1000, 2000)))
    for _ in range(2):
        await api.next("c", 1000)
    await publish_each(api, [2000])
    await clock.advance(WAIT)
    batch = await api.next("c", 1)
    assert (counted(batch), batch["info"]["num_pending"]) == ([(2000, 1)], 0)
    assert await counts(api, "c") == (0, 1, 2000, 0)


# C28


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
        "upstream_updated_at": None,
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


async def test_a_plain_entry_with_odd_data_blocks_nobody(api: Api, store: Store) -> None:
    await consumer(api)
    for text in (b"not json", b"", b"NaN", b"{", b"\xff\xfe", b"\x00", b"[" * 100_000, b"01", b'"\\x"'):
        await plain_add(store, "collection_id", "crm:x", "data", text)
        await plain_add(store, "collection_id", "crm:x")
        await publish_each(api, ["after"])
        assert await take(api, "c") == [text.decode("utf-8", "replace"), None, "after"], text[:20]


async def test_a_plain_entry_keeps_the_spelling_of_its_data(http: httpx.AsyncClient, store: Store) -> None:
    for raw in (b"1.10", b"1e5", b'{"b":1,"a":[2]}', b'"\\u00e9/"', '"é"'.encode()):
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


# C29


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c29_next_gives_fewer_or_none_at_the_bound(api: Api, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters, max_ack_pending=3)
    await publish(api, stream, 1, 2, 3, 4, 5)
    first = await api.next("c", 2)
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([3], info(2, 3))
    assert await api.next("c", 2) == {"data": [], "info": info(2, 3)}
    await api.ack("c", tokens(first)[:1])
    assert data(await api.next("c", 2)) == [4]
    await api.nack("c", tokens(first)[1:], delay_ms=60_000)
    batch = await api.next("c", 2)
    assert (data(batch), batch["info"]) == ([5], info(1, 3))


async def test_c29_what_expired_is_redelivered_at_the_bound(api: Api, clock: Clock) -> None:
    await consumer(api, max_ack_pending=2)
    await publish_each(api, [1, 2, 3])
    await api.next("c", 9)
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(1, 2), (2, 2)], info(1, 2))


async def test_c29_what_was_nacked_waits_for_room(api: Api, clock: Clock) -> None:
    await consumer(api, max_ack_pending=1, ack_wait_ms=600_000)
    await publish_each(api, [1, 2])
    await api.nack("c", tokens(await api.next("c")), delay_ms=10_000)
    second = await api.next("c", 9)
    assert (counted(second), second["info"]) == ([(2, 1)], info(1, 1))
    await clock.advance(10_000)
    assert await api.next("c", 9) == {"data": [], "info": info(1, 1)}
    await api.ack("c", tokens(second))
    assert counted(await api.next("c", 9)) == [(1, 2)]


async def test_c29_expired_and_nacked_together_stay_within_the_bound(api: Api, clock: Clock) -> None:
    await consumer(api, max_ack_pending=2)
    await publish_each(api, [1, 2, 3])
    await api.nack("c", tokens(await api.next("c", 1)), delay_ms=WAIT)
    assert data(await api.next("c", 9)) == [2, 3]
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(2, 2), (3, 2)], info(1, 2))
    await api.ack("c", tokens(batch)[:1])
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(1, 2)], info(0, 2))


async def test_c29_a_death_makes_room(api: Api) -> None:
    await consumer(api, max_ack_pending=1, max_deliver=1)
    await publish_each(api, [1, 2])
    await api.nack("c", tokens(await api.next("c", 9)))
    assert data(await api.next("c", 9)) == [2]


async def test_c29_the_bound_may_be_lowered_below_what_is_out(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1, 2, 3, 4])
    first = await api.next("c", 3)
    await api.update_consumer("c", max_ack_pending=1)
    assert await api.next("c", 9) == {"data": [], "info": info(1, 3)}
    await api.ack("c", tokens(first)[:2])
    assert await api.next("c", 9) == {"data": [], "info": info(1, 1)}
    await api.ack("c", tokens(first)[2:])
    assert data(await api.next("c", 9)) == [4]


async def test_c29_min_batch_above_the_bound_gives_what_there_is(api: Api) -> None:
    await consumer(api, max_ack_pending=2)
    await publish_each(api, [1, 2, 3])
    assert data(await api.next("c", 9, min_batch=3)) == [1, 2]


async def test_c29_many_workers_at_once_stay_within_the_bound(api: Api) -> None:
    await consumer(api, max_ack_pending=7)
    await publish_each(api, list(range(50)))
    batches = await asyncio.gather(*(api.next("c", 3) for _ in range(10)))
    assert sorted(value for batch in batches for value in data(batch)) == list(range(7))
    assert await counts(api, "c") == (43, 7, 0, 0)


# C30


@pytest.mark.parametrize("filters", FILTERS)
async def test_c30_a_record_updated_while_it_is_out_reappears(api: Api, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record("a", 1), record("b", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    assert await counts(api, "c") == (2, 1, 0, 0)
    assert await api.ack("c", old) == {"acked": 1, "stale": []}
    assert await counts(api, "c") == (2, 0, 0, 0)
    batch = await api.next("c", 9)
    assert [(d["record"]["id"], d["record"]["data"], d["deliver_count"]) for d in batch["data"]] == [("b", 1, 1), ("a", 2, 1)]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("delay", [None, 0, 5000])
async def test_c30_a_nack_of_the_old_version_drops_it(api: Api, clock: Clock, filters: Json, delay: int | None) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    assert await api.nack("c", old, delay_ms=delay) == {"nacked": 1, "stale": []}
    assert await counts(api, "c") == (1, 0, 0, 0)
    await clock.advance(10_000)
    assert counted(await api.next("c", 9)) == [(2, 1)]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("max_deliver", [-1, 1])
async def test_c30_an_expiry_of_the_old_version_drops_it(api: Api, clock: Clock, filters: Json, max_deliver: int) -> None:
    await consumer(api, stream_id="records", filters=filters, max_deliver=max_deliver)
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(2, 1)], info(0, 1))
    assert await api.ack("c", old) == {"acked": 0, "stale": old}
    assert (await counts(api, "c"))[1:3] == (1, 0)


async def test_c30_the_last_nack_of_an_old_version_leaves_no_dead_letter(api: Api) -> None:
    await consumer(api, stream_id="records", max_deliver=1)
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    await api.nack("c", old)
    assert await counts(api, "c") == (1, 0, 0, 0)
    assert await take(api, "c") == [2]


async def test_c30_both_versions_may_be_out_each_with_its_token(api: Api) -> None:
    await consumer(api, stream_id="records")
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    new = tokens(await api.next("c"))
    assert await counts(api, "c") == (0, 2, 0, 0)
    assert await api.nack("c", new) == {"nacked": 1, "stale": []}
    assert await api.ack("c", old) == {"acked": 1, "stale": []}
    assert counted(await api.next("c", 9)) == [(2, 2)]


async def test_c30_a_version_that_changes_nothing_does_not_reappear(api: Api) -> None:
    await consumer(api, stream_id="records")
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 1)])
    assert await counts(api, "c") == (0, 1, 0, 0)
    await api.ack("c", old)
    assert await api.next("c") == NOTHING


async def test_c30_a_record_that_leaves_the_filter_while_it_is_out(api: Api) -> None:
    await consumer(api, stream_id="records", filters={"provider": "crm"})
    await api.publish("records", [record("a", 1, "crm:x")])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2, "erp:x")])
    await api.nack("c", old)
    assert await api.next("c") == NOTHING


# C31


@pytest.mark.parametrize("filters", FILTERS)
async def test_c31_a_record_updated_while_it_waits_is_delivered_once(api: Api, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    for version in (1, 2, 3):
        await api.publish("records", [record("a", version), record("b", version)])
    assert await counts(api, "c") == (2, 0, 0, 0)
    assert await take(api, "c") == [3, 3]
    assert await api.next("c") == NOTHING


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("delay", [0, 5000])
async def test_c31_a_record_updated_while_it_waits_for_a_retry_is_delivered_once(api: Api, clock: Clock, filters: Json, delay: int) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record("a", 1)])
    await api.nack("c", tokens(await api.next("c")), delay_ms=delay)
    await api.publish("records", [record("a", 2)])
    assert await counts(api, "c") == (1, 0, 0, 0)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(2, 1)], info(0, 1))
    await clock.advance(5000)
    await api.ack("c", tokens(batch))
    assert await api.next("c") == {"data": [], "info": info(0, 0)}


@pytest.mark.parametrize("filters", FILTERS)
async def test_c31_a_worker_that_acks_everything_ends_with_the_newest_versions(api: Api, clock: Clock, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    seen: dict[str, tuple[Any, bool]] = {}

    def store_all(batch: Json) -> None:
        for delivery in batch["data"]:
            found = delivery["record"]
            seen[found["id"]] = (found["data"], found["deleted"])

    for version in range(1, 7):
        await api.publish("records", [record(str(i), version) for i in range(version)])
        batch = await api.next("c", 2)
        if version % 3 == 0:
            await api.nack("c", tokens(batch))
        elif version % 3 == 1:
            await clock.advance(WAIT)
        else:
            store_all(batch)
            await api.ack("c", tokens(batch))
    await api.publish("records", [{"id": "0", "collection_id": "crm:contacts", "deleted": True}])
    await clock.advance(WAIT)
    batch = await api.next("c", 100)
    store_all(batch)
    await api.ack("c", tokens(batch))
    assert await api.next("c", 100) == NOTHING
    assert seen == {"0": (None, True)} | {str(i): (6, False) for i in range(1, 6)}


# C32


@pytest.mark.parametrize("filters", FILTERS)
async def test_c32_a_late_consumer_of_records_gets_what_an_early_one_would_hold(api: Api, filters: Json) -> None:
    await api.publish("records", [record(n, 1) for n in "abc"] + [record("x", 1, "erp:x")])
    await api.publish("records", [record("b", 2), {"id": "a", "collection_id": "crm:contacts", "deleted": True}])
    await consumer(api, stream_id="records", filters=filters)
    batch = await api.next("c", 9)
    found = [(d["record"]["id"], d["record"]["data"], d["record"]["deleted"]) for d in batch["data"]]
    expected = [("c", 1, False), ("x", 1, False), ("b", 2, False), ("a", None, True)]
    assert found == [row for row in expected if not filters or row[0] != "x"]
    assert batch["info"] == info(0, len(found))


@pytest.mark.parametrize("filters", FILTERS)
async def test_c32_a_late_consumer_of_events_gets_what_the_stream_holds(api: Api, filters: Json) -> None:
    await api.create_stream(name="s", kind="events", max_messages=4)
    await api.create_consumer(name="early", stream_id="s", filters=filters)
    for i in range(6):
        await api.publish("s", [event(i, "erp:x" if i == 3 else "crm:x")])
    await consumer(api, stream_id="s", filters=filters)
    assert await counts(api, "c") == await counts(api, "early")
    assert await take(api, "c") == await take(api, "early") == ([2, 4, 5] if filters else [2, 3, 4, 5])


@pytest.mark.parametrize("filters", FILTERS)
async def test_c32_a_late_consumer_of_a_long_stream_gets_all_of_it(api: Api, filters: Json) -> None:
    for start in range(0, 5000, 1000):
        await publish_each(api, list(range(start, start + 1000)))
    await consumer(api, filters=filters)
    seen: list[Any] = []
    for _ in range(5):
        seen += await take(api, "c", 1000)
    assert seen == list(range(5000))
