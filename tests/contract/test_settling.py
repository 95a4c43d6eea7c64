"""Ack and nack, and the tokens that they take (C24, C25, C26)."""

from typing import Any

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
    record,
    tokens,
)
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio


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
