"""What is not settled in time is delivered again, to one worker at a time (C22, C23)."""

import asyncio
from typing import Any

import msgspec
import pytest

from broker import Batch, Broker, ConsumerChanges, ConsumerSpec, Nack
from tests.conftest import Clock
from tests.contract.delivering import FILTERS, STREAMS, WAIT, consumer, publish
from tests.contract.helpers import (
    counted,
    counts,
    event,
    info,
    publish_each,
    tokens,
)
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


async def test_c22_each_delivery_of_a_mixed_batch_has_its_own_token(api: Api, clock: Clock) -> None:
    await api.create_consumer(name="c", stream_id="events", ack_wait_ms=WAIT)
    await publish_each(api, [1, 2, 3])
    await api.next("c", 2)
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert [(row["event"]["data"], row["deliver_count"]) for row in batch["data"]] == [(1, 2), (2, 2), (3, 1)]
    assert await api.ack("c", tokens(batch)) == {"acked": 3, "stale": []}


async def test_c22_an_unsettled_delivery_is_delivered_again_when_its_ack_wait_is_over(api: Api, clock: Clock) -> None:
    await consumer(api)
    await api.publish("events", [{"collection_id": "a:b", "data": 1}])
    first = await api.next("c", 10)
    await clock.advance(WAIT - 501)
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


async def test_c22_the_ack_wait_restarts_with_each_delivery(api: Api, clock: Clock) -> None:
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


async def test_c22_an_expired_delivery_after_many_fresh_ones_is_found(api: Api, clock: Clock) -> None:
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


def ids(batch: Batch) -> list[int]:
    """The data of a batch of the library."""
    return [msgspec.json.decode(d.json)["data"] for d in batch.deliveries]


async def five_thousand_out(broker: Broker, fields: Json) -> list[str]:
    """Gives the tokens; the data are 0…4999."""
    spec = {"name": "c", "stream_id": "events", "ack_wait_ms": 60_000, "max_ack_pending": 10_000} | fields
    await broker.consumers.create(msgspec.convert(spec, ConsumerSpec))
    out: list[str] = []
    for start in range(0, 5000, 1000):
        await broker.publish("events", [event(n, key=str(n)) for n in range(start, start + 1000)])
        out += [d.ack_token for d in (await broker.next("c", 1000)).deliveries]
    assert len(out) == 5000
    return out


async def set_back(broker: Broker, out: list[str], how: str) -> None:
    """In chunks, the highest ids first, so that what comes due last comes first in the stream."""
    for start in range(4000, -1, -1000):
        some = out[start : start + 1000]
        if how == "extend":
            await broker.extend("c", some)
        else:
            delay = 1000 if how == "delay" else 0
            await broker.nack("c", [Nack(token, delay, "release" if how == "release" else "retry") for token in some])


@pytest.mark.parametrize("how", ["nack", "delay", "release", "extend", "expire"])
@pytest.mark.parametrize("fields", [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}], ids=["plain", "filtered", "key"])
async def test_c21_what_is_due_again_comes_in_stream_order_however_much_it_is(broker: Broker, clock: Clock, fields: Json, how: str) -> None:
    out = await five_thousand_out(broker, fields)
    if how != "expire":
        await set_back(broker, out, how)
    await clock.advance(60_000)
    count = 1 if how == "release" else 2
    assert [(row.id, row.deliver_count) for row in await broker.deliveries.peek("c", 3)] == [
        (token.partition(".")[0], count) for token in out[:3]
    ]
    assert ids(await broker.next("c", 3)) == [0, 1, 2]
    assert ids(await broker.next("c", 1000)) == list(range(3, 1003))
    assert [int(row.deliver_count) for row in await broker.deliveries.peek("c", 1000)] == [count] * 1000
    assert ids(await broker.next("c", 1000)) == list(range(1003, 2003))


async def test_c21_expired_extended_nacked_and_new_ones_come_in_order(broker: Broker, clock: Clock) -> None:
    out = await five_thousand_out(broker, {})
    await broker.publish("events", [event("new")])
    for start in range(4000, -1, -1000):
        await broker.extend("c", out[start : start + 1000 : 3])
        await broker.nack("c", [Nack(token, 30_000) for token in out[start + 1 : start + 1000 : 3]])
    await clock.advance(60_000)
    given: list[int] = []
    while len(given) < 5000:
        given += ids(await broker.next("c", 700))
    assert given == [*range(5000), *given[5000:]]


async def test_c21_what_is_not_due_does_not_hide_what_is(broker: Broker, clock: Clock) -> None:
    out = await five_thousand_out(broker, {})
    for start in range(0, 4000, 1000):
        await broker.nack("c", [Nack(token, 600_000) for token in out[start : start + 1000]])
    await clock.advance(30_000)
    await broker.extend("c", out[4000:4990])
    await clock.advance(30_000)
    assert ids(await broker.next("c", 100)) == list(range(4990, 5000))


async def test_c21_max_ack_pending_holds_up_retries_and_lets_what_expired_pass(broker: Broker, clock: Clock) -> None:
    out = await five_thousand_out(broker, {})
    await broker.nack("c", [Nack(token, 0) for token in out[:1000]])
    await broker.consumers.update("c", ConsumerChanges(max_ack_pending=1000))
    assert ids(await broker.next("c", 10)) == []
    await clock.advance(60_000)
    assert ids(await broker.next("c", 10)) == list(range(1000, 1010))
