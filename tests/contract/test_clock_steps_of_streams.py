"""C22: if the clock of Redis steps, a stream keeps or delays messages for at most one more span of time."""

from datetime import UTC, datetime

import pytest

from tests.conftest import Clock
from tests.contract.delivering import consumer
from tests.contract.helpers import counts, data, event, publish_each, statuses
from tests.contract.spans import HOUR, SPAN, STEPS, one_span_more, when
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("step", STEPS)
async def test_c12_the_dedupe_window_lasts_one_more_at_most(api: Api, clock: Clock, step: int) -> None:
    await api.create_stream(name="s", kind="events", dedupe_window_ms=SPAN)

    async def is_new() -> bool:
        return statuses(await api.publish("s", [event(1, id="e")])) == ["created"]

    assert await is_new()
    await one_span_more(clock, step, SPAN, is_new)
    assert not await is_new()


async def test_c12_an_id_of_an_hour_that_is_taken_back_is_remembered_for_its_window(api: Api, clock: Clock) -> None:
    await api.create_stream(name="s", kind="events", dedupe_window_ms=SPAN)

    async def is_new() -> bool:
        return statuses(await api.publish("s", [event(1, id="e")])) == ["created"]

    for _ in range(3):
        await clock.advance(HOUR)
        assert await is_new()
        await clock.advance(-HOUR)
        assert SPAN <= await when(clock, is_new) <= 2 * SPAN


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fields", [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}], ids=["plain", "filtered", "key"])
async def test_c40_a_time_to_live_lasts_one_more_at_most(api: Api, clock: Clock, fields: Json, step: int) -> None:
    await consumer(api, **fields)
    await api.publish("events", [event(1, ttl_ms=SPAN), event(2)])

    async def lapsed() -> bool:
        return (await counts(api, "c"))[0] == 1

    await one_span_more(clock, step, SPAN, lapsed)
    assert data(await api.next("c", 9)) == [2]


@pytest.mark.parametrize("step", STEPS)
async def test_c7_events_grow_too_old_one_span_later_at_most(api: Api, clock: Clock, step: int) -> None:
    await api.create_stream(name="s", kind="events", max_age_ms=SPAN)
    await publish_each(api, [1, 2], "s")

    async def gone() -> bool:
        return not data(await api.messages("s"))

    await one_span_more(clock, step, SPAN, gone)


@pytest.mark.parametrize("step", STEPS)
async def test_c7_events_published_after_a_step_live_for_their_time(api: Api, clock: Clock, step: int) -> None:
    await api.create_stream(name="s", kind="events", max_age_ms=SPAN)
    await publish_each(api, [0], "s")
    await clock.advance(step)
    for n in range(1, 12):
        await publish_each(api, [n], "s")
        held = data(await api.messages("s"))
        assert set(range(n - 4, n + 1)) - {-4, -3, -2, -1} <= set(held), "of the last 8 s"
        assert min(held) >= n - 10, "not older than 20 s"
        await clock.advance(SPAN // 5)


@pytest.mark.parametrize("step", STEPS)
async def test_c40_a_delivery_date_is_one_of_the_clock_as_it_is(api: Api, clock: Clock, step: int) -> None:
    await consumer(api)
    at = datetime.fromtimestamp((datetime.now(UTC).timestamp() * 1000 + step + 60_000) / 1000, UTC).isoformat()
    await clock.advance(step)
    await api.publish("events", [event(1, deliver_at=at)])
    await clock.advance(55_000)
    assert data(await api.next("c")) == []
    await clock.advance(6_000)
    assert data(await api.next("c")) == [1]
