"""The bound on what is out (C29)."""

import asyncio

import pytest

from tests.conftest import Clock
from tests.contract.delivering import FILTERS, STREAMS, WAIT, consumer, publish
from tests.contract.helpers import (
    counted,
    counts,
    data,
    info,
    publish_each,
    tokens,
)
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


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
