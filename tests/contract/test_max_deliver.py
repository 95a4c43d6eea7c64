"""The last delivery of a message (C27)."""

import pytest

from tests.conftest import Clock
from tests.contract.delivering import FILTERS, NOTHING, STREAMS, WAIT, consumer, publish
from tests.contract.helpers import (
    body,
    counted,
    counts,
    data,
    info,
    publish_each,
    take,
    tokens,
)
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


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
