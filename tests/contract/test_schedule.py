"""C40: events that may not be delivered yet, and events that may not be delivered any more."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker import Broker, ConsumerSpec
from tests.conftest import Clock
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio
HOUR = 3_600_000


def in_ms(ms: int) -> str:
    """A time so far from now."""
    return (datetime.now(UTC) + timedelta(milliseconds=ms)).isoformat()


def data(batch: Json) -> list[Any]:
    """The data of a batch."""
    return [row["event"]["data"] for row in batch["data"]]


async def publish(api: Api, *messages: Json) -> Json:
    """Events of one collection."""
    return await api.publish("events", [{"collection_id": "a:b", **message} for message in messages])


CONSUMERS: list[Json] = [{}, {"filters": {"collection_id": "a:*"}}, {"ordering": "key"}]


@pytest.mark.parametrize("fields", CONSUMERS)
async def test_a_delayed_event_is_seen_by_nobody_before_its_time(api: Api, clock: Clock, fields: Json) -> None:
    await api.create_consumer(name="c", stream_id="events", ack_wait_ms=4 * HOUR, **fields)
    answer = await publish(api, {"data": 1, "deliver_at": in_ms(2 * HOUR)}, {"data": 2}, {"data": 3, "deliver_at": in_ms(HOUR)})
    assert [(row["status"], row["message_id"] is None) for row in answer["data"]] == [
        ("created", True), ("created", False), ("created", True),
    ]  # fmt: skip
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]["num_pending"]) == ([2], 0)
    assert len((await api.messages("events"))["data"]) == 1
    await clock.advance(HOUR + 60_000)
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]["num_pending"]) == ([3], 0)
    await clock.advance(HOUR)
    assert data(await api.next("c", 9)) == [1]
    assert [row["event"]["data"] for row in (await api.messages("events"))["data"]] == [2, 3, 1]


@pytest.mark.parametrize("fields", CONSUMERS)
async def test_a_delayed_event_takes_the_place_of_the_oldest(api: Api, clock: Clock, fields: Json) -> None:
    await api.update_stream("events", max_messages=2)
    await api.create_consumer(name="c", stream_id="events", **fields)
    await publish(api, {"data": 1}, {"data": 2}, {"data": 3, "deliver_at": in_ms(HOUR)})
    await clock.advance(HOUR + 60_000)
    assert (await api.get_stream("events"))["info"]["messages"] == 2
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]["num_pending"]) == ([2, 3], 0)


async def test_a_time_that_is_over_is_now_and_a_wrong_one_is_named(api: Api) -> None:
    answer = await publish(api, {"data": 1, "deliver_at": in_ms(-HOUR)})
    assert answer["data"][0]["message_id"] is not None
    for field, value in (("deliver_at", "tomorrow"), ("ttl_ms", 0)):
        with pytest.raises(Refused) as refused:
            await publish(api, {"data": 1, field: value})
        assert (refused.value.status, list(refused.value.errors)) == (422, [f"messages[0].{field}"])


async def test_a_delayed_event_is_remembered_by_its_id(api: Api) -> None:
    event = {"data": 1, "id": "e", "deliver_at": in_ms(HOUR)}
    assert [(await publish(api, event))["data"][0]["status"] for _ in range(2)] == ["created", "duplicate"]


async def test_a_waiting_call_gets_a_delayed_event_when_its_time_comes(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    call = asyncio.ensure_future(api.next("c", wait_ms=60_000))
    await api.get_consumer("c")
    await publish(api, {"data": 1, "deliver_at": in_ms(300)})
    assert data(await call) == [1]


@pytest.mark.parametrize("fields", CONSUMERS)
async def test_an_event_is_not_delivered_for_the_first_time_after_its_time_to_live(api: Api, clock: Clock, fields: Json) -> None:
    await api.create_consumer(name="c", stream_id="events", ack_wait_ms=2 * HOUR, **fields)
    await publish(api, {"data": 1, "ttl_ms": HOUR}, {"data": 2, "ttl_ms": HOUR}, {"data": 3}, {"data": 4, "ttl_ms": 9 * HOUR})
    first = await api.next("c")
    assert (data(first), first["info"]["num_pending"]) == ([1], 3)
    await clock.advance(HOUR)
    assert (await api.get_consumer("c"))["info"]["num_pending"] == 2
    assert [row["event"]["data"] for row in await api.peek("c")] == [3, 4]
    batch = await api.next("c", 9)
    assert (data(batch), batch["info"]) == ([3, 4], {"num_pending": 0, "num_ack_pending": 3})
    await api.nack("c", [first["data"][0]["ack_token"]])
    assert data(await api.next("c", 9)) == [1]
    await api.create_consumer(name="late", stream_id="events", **fields)
    assert data(await api.next("late", 9)) == [3, 4]


async def test_an_event_that_lapses_while_it_waits_for_its_key_lets_the_next_one_pass(api: Api, clock: Clock) -> None:
    await api.create_consumer(name="c", stream_id="events", ordering="key", ack_wait_ms=4 * HOUR)
    await publish(api, {"data": 1, "key": "k"}, {"data": 2, "key": "k", "ttl_ms": HOUR}, {"data": 3, "key": "k"})
    batch = await api.next("c", 9)
    await clock.advance(HOUR)
    assert (await api.get_consumer("c"))["info"]["num_pending"] == 1
    await api.ack("c", [batch["data"][0]["ack_token"]])
    assert data(await api.next("c", 9)) == [3]


async def test_c40_many_events_that_came_due_stand_before_one_that_is_published_then(broker: Broker, clock: Clock) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    due = in_ms(60_000)
    late = [{"collection_id": "a:b", "data": n, "deliver_at": due} for n in range(700)]
    await broker.publish("events", late)
    await clock.advance(120_000)
    await broker.publish("events", [{"collection_id": "a:b", "data": 700}])
    given = (await broker.next("c", 1000)).deliveries
    assert [msgspec.json.decode(delivery.json)["data"] for delivery in given] == list(range(701))
