"""Section 6: what is not settled in time is delivered again, to one worker at a time (C22, C23)."""

import asyncio
from typing import Any

import pytest

from tests.conftest import Clock
from tests.contract.delivering import FILTERS, STREAMS, WAIT, consumer, publish
from tests.contract.helpers import (
    counted,
    counts,
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
