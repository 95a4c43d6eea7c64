"""C22: the clock of Redis steps, and what a consumer waits for is delayed by one more span at most."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.delivering import consumer, publish
from tests.contract.helpers import counted, counts, data, plain_ack, plain_add, plain_read, publish_each, tokens
from tests.contract.spans import HOUR, SPAN, STEPS, delivered, one_span_more, when
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio

KINDS: list[Json] = [
    {}, {"stream_id": "records"}, {"filters": {"provider": "crm"}}, {"ordering": "key"}, {"max_deliver": 2},
    {"filters": {"provider": "crm"}, "ordering": "key"},
]  # fmt: skip
IDS = ["plain", "records", "filtered", "key", "max_deliver", "filtered-key"]


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
