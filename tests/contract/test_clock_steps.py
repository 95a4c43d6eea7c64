"""C22: the clock of Redis steps, and what waits for a span of time is delayed by one such span at most; so it is of all spans."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.delivering import consumer, publish
from tests.contract.helpers import counted, counts, data, event, plain_ack, plain_add, plain_read, publish_each, statuses, tokens
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio
HOUR = 3_600_000
SPAN = 10_000  # of ack waits, delays and backoff here
STEPS = [-20_000, -HOUR]
KINDS: list[Json] = [
    {}, {"stream_id": "records"}, {"filters": {"provider": "crm"}}, {"ordering": "key"}, {"max_deliver": 2},
    {"filters": {"provider": "crm"}, "ordering": "key"},
]  # fmt: skip
IDS = ["plain", "records", "filtered", "key", "max_deliver", "filtered-key"]


async def when(clock: Clock, happened: Callable[[], Awaitable[bool]], every: int = SPAN // 5, within: int = 10 * SPAN) -> int:
    """How many ms pass until it has happened, looked at now and then."""
    elapsed = 0
    while not await happened():
        assert elapsed < within, "it did not happen"
        await clock.advance(every)
        elapsed += every
    return elapsed


def delivered(api: Api, count: int, deliver_count: int = 2) -> Callable[[], Awaitable[bool]]:
    """Whether `next` gives so many again, all at once."""

    async def look() -> bool:
        batch = await api.next("c", 100)
        found = [number for _, number in counted(batch)]
        assert found in ([], [deliver_count] * count)
        return found != []

    return look


async def one_span_more(clock: Clock, step: int, span: int, happened: Callable[[], Awaitable[bool]]) -> None:
    """What was to happen after a span, of which half passes before the clock steps back, happens after the span or one more."""
    assert not await happened()
    await clock.advance(span // 2)
    assert not await happened()
    await clock.advance(step)
    elapsed = span // 2 + await when(clock, happened, span // 5)
    assert span <= elapsed <= 2 * span


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fields", KINDS, ids=IDS)
async def test_c22_an_ack_wait_lasts_one_more_at_most(api: Api, clock: Clock, fields: Json, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN, **fields)
    await publish(api, fields.get("stream_id", "events"), 1, 2, 3)
    await api.next("c", 3)
    await one_span_more(clock, step, SPAN, delivered(api, 3))
    assert await counts(api, "c") == (0, 3, 0, 3)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fields", [{}, {"stream_id": "records"}, {"ordering": "key"}], ids=["plain", "records", "key"])
async def test_c22_so_does_that_of_a_redelivery(api: Api, clock: Clock, fields: Json, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN, **fields)
    await publish(api, fields.get("stream_id", "events"), 1, 2, 3)
    await api.next("c", 3)
    await clock.advance(SPAN)
    assert await delivered(api, 3)()
    await one_span_more(clock, step, SPAN, delivered(api, 3, 3))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_so_does_that_of_what_was_extended(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN)
    await publish_each(api, [1, 2])
    given = tokens(await api.next("c", 2))
    await clock.advance(SPAN // 2)
    assert await api.extend("c", given) == {"extended": 2, "stale": []}
    await one_span_more(clock, step, SPAN, delivered(api, 2))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_an_extension_after_a_step_lasts_its_span(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN)
    await publish_each(api, [1])
    given = tokens(await api.next("c"))
    await clock.advance(step)
    await clock.advance(SPAN // 2)
    assert await api.extend("c", given) == {"extended": 1, "stale": []}
    await clock.advance(SPAN - 500)
    assert data(await api.next("c")) == []
    await clock.advance(600)
    assert counted(await api.next("c")) == [(1, 2)]


@pytest.mark.parametrize("step", STEPS)
async def test_c22_so_does_that_of_what_a_plain_client_has_read(api: Api, store: Store, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN)
    await publish_each(api, [1, 2, 3])
    assert len(await plain_read(store, "c", 3)) == 3
    await one_span_more(clock, step, SPAN, delivered(api, 3))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_so_does_that_before_a_death(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN, max_deliver=1, backoff_ms=[600_000])
    await publish_each(api, [1, 2])
    await api.next("c", 2)

    async def dead() -> bool:
        return await counts(api, "c") == (0, 0, 2, 0)

    await one_span_more(clock, step, SPAN, dead)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fields", [{}, {"stream_id": "records"}, {"ordering": "key"}], ids=["plain", "records", "key"])
async def test_c22_the_delay_of_a_nack_lasts_one_more_at_most(api: Api, clock: Clock, fields: Json, step: int) -> None:
    await consumer(api, ack_wait_ms=600_000, **fields)
    await publish(api, fields.get("stream_id", "events"), 1, 2)
    await api.nack("c", tokens(await api.next("c", 2)), delay_ms=SPAN)
    await one_span_more(clock, step, SPAN, delivered(api, 2))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_so_does_the_backoff_of_a_nack(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=600_000, backoff_ms=[SPAN])
    await publish_each(api, [1, 2])
    await api.nack("c", tokens(await api.next("c", 2)))
    await one_span_more(clock, step, SPAN, delivered(api, 2))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_so_does_the_backoff_of_an_expiry(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN, backoff_ms=[SPAN])
    await publish_each(api, [1, 2])
    await api.next("c", 2)
    await one_span_more(clock, step, 2 * SPAN, delivered(api, 2))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fields", KINDS, ids=IDS)
async def test_c22_what_is_delivered_after_a_step_has_its_own_ack_wait(api: Api, clock: Clock, fields: Json, step: int) -> None:
    stream = fields.get("stream_id", "events")
    await consumer(api, ack_wait_ms=SPAN, **fields)
    await publish(api, stream, *range(30))
    await api.next("c", 10)
    await clock.advance(step)
    await api.next("c", 10)
    await clock.advance(SPAN // 2)
    assert data(await api.next("c", 10)) == list(range(20, 30))
    await clock.advance(SPAN // 2 - 500)
    assert data(await api.next("c", 100)) == []
    await clock.advance(600)
    assert counted(await api.next("c", 100)) == [(n, 2) for n in range(20)]
    await clock.advance(SPAN // 2 - 800)
    assert data(await api.next("c", 100)) == []
    await clock.advance(900)
    assert counted(await api.next("c", 100)) == [(n, 2) for n in range(20, 30)]


@pytest.mark.parametrize("step", STEPS)
async def test_c22_many_consumers_notice_a_step_at_different_times(api: Api, clock: Clock, step: int) -> None:
    for name in ("c", "d"):
        await consumer(api, name=name, ack_wait_ms=SPAN)
    await publish_each(api, [1])
    for name in ("c", "d"):
        await api.next(name)
    await clock.advance(step)
    await clock.advance(SPAN // 2)
    assert data(await api.next("c")) == []
    await clock.advance(SPAN + 100)
    assert counted(await api.next("c")) == [(1, 2)]
    assert await when(clock, lambda: _given(api, "d")) <= SPAN


async def _given(api: Api, name: str) -> bool:
    return bool((await api.next(name))["data"])


async def test_c22_each_of_several_steps_costs_one_span_at_most(api: Api, clock: Clock) -> None:
    await consumer(api, ack_wait_ms=SPAN)
    await publish_each(api, [1, 2])
    (one, _) = tokens(await api.next("c", 2))
    await api.nack("c", [one], delay_ms=SPAN)
    for step in (-20_000, -HOUR, -20_000):
        await clock.advance(step)
        await clock.advance(SPAN // 5)
        assert data(await api.next("c")) == []
    seen: list[tuple[Any, int]] = []

    async def both() -> bool:
        seen.extend(counted(await api.next("c", 9)))
        return len(seen) == 2

    assert await when(clock, both) <= 4 * SPAN
    assert sorted(seen) == [(1, 2), (2, 2)]


@pytest.mark.parametrize("fields", KINDS[:4], ids=IDS[:4])
async def test_c22_what_is_delivered_or_set_back_in_an_hour_that_is_taken_back_comes_again(api: Api, clock: Clock, fields: Json) -> None:
    stream = fields.get("stream_id", "events")
    await consumer(api, ack_wait_ms=SPAN, **fields)
    for turn in range(3):
        await clock.advance(HOUR)
        await publish(api, stream, turn * 10 + 1, turn * 10 + 2)
        one, two = tokens(await api.next("c", 2))
        await api.nack("c", [one], delay_ms=SPAN)
        await clock.advance(-HOUR)
        again: list[Json] = []

        async def both(again: list[Json] = again) -> bool:
            again += (await api.next("c", 9))["data"]
            return len(again) == 2

        assert SPAN <= await when(clock, both) <= 2 * SPAN
        assert sorted(counted({"data": again})) == [(turn * 10 + 1, 2), (turn * 10 + 2, 2)]
        assert await api.ack("c", [two]) == {"acked": 0, "stale": [two]}
        assert await api.ack("c", tokens({"data": again})) == {"acked": 2, "stale": []}
    assert await counts(api, "c") == (0, 0, 0, 0)


@pytest.mark.parametrize("step", STEPS)
async def test_c22_pending_tells_when_a_delivery_expires_also_after_a_step(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN)
    await publish_each(api, [1, 2, 3])
    await api.nack("c", tokens(await api.next("c", 1)))
    _, two = tokens(await api.next("c", 2))  # the first again, and the second
    await api.extend("c", [two])
    await api.next("c", 1)
    await clock.advance(step)
    assert data(await api.next("c")) == []
    now = datetime.now(UTC).timestamp() * 1000 + step
    rows = (await api.pending("c"))["data"]
    assert len(rows) == 3
    left = max(datetime.fromisoformat(row["expires_at"]).timestamp() * 1000 for row in rows) - now
    assert SPAN - 1000 < left <= SPAN + 100
    await clock.advance(round(left) - 1000)
    assert data(await api.next("c", 9)) == []
    await clock.advance(1100)
    assert sorted(counted(await api.next("c", 9))) == [(1, 3), (2, 2), (3, 2)]


@pytest.mark.parametrize("step", STEPS)
async def test_c22_the_counts_follow_plain_readers_after_a_step(api: Api, store: Store, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=600_000)
    await publish_each(api, [1, 2, 3])
    assert data(await api.next("c")) == [1]
    await clock.advance(step)
    assert await counts(api, "c") == (2, 1, 0, 0)
    ids = await plain_read(store, "c")
    await clock.advance(1100)
    assert await counts(api, "c") == (1, 2, 0, 0)
    assert await plain_ack(store, "c", *ids) == 1
    assert await counts(api, "c") == (1, 1, 0, 0)


@pytest.mark.parametrize("step", STEPS)
async def test_c42_a_key_that_a_plain_client_freed_is_found_after_a_step(api: Api, store: Store, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=600_000, ordering="key")
    ids = await publish_each(api, [1, 2], key="k")
    assert data(await api.next("c", 9)) == [1]
    await clock.advance(step)
    assert data(await api.next("c", 9)) == []
    assert await plain_ack(store, "c", ids[0]) == 1
    await clock.advance(1100)
    assert data(await api.next("c", 9)) == [2]


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


async def test_c22_a_waiting_call_is_answered_after_a_step(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    one, _ = tokens(await api.next("c", 2))
    await api.nack("c", [one], delay_ms=1000)
    await clock.advance(-HOUR)
    batch = await asyncio.wait_for(api.next("c", 2, wait_ms=60_000), 10)
    assert counted(batch)[0] in ((1, 2), (2, 2))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_entries_of_plain_clients_are_delivered_after_a_step(api: Api, store: Store, clock: Clock, step: int) -> None:
    await consumer(api, ack_wait_ms=SPAN)
    await clock.advance(step)
    await plain_add(store, "collection_id", "crm:x", "data", "1")
    await publish_each(api, [2])
    assert data(await api.next("c", 9)) == [1, 2]
    await clock.advance(SPAN + 100)
    assert counted(await api.next("c", 9)) == [(1, 2), (2, 2)]
