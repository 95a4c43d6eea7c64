"""Next, what it gives, in which order, and how it waits (C20, C21)."""

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from tests.conftest import Clock
from tests.contract.delivering import FILTERS, NOTHING, STREAMS, WAIT, consumer, publish
from tests.contract.helpers import (
    counted,
    counts,
    data,
    event,
    info,
    publish_each,
    take,
    tokens,
)
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio


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
        while await counts(api, "c") != (1, 0, 0, 0):
            pass  # a look that was on its way for it may find the message, and gives it back
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
