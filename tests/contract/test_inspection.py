"""What is out and what comes next (C36)."""

import httpx
import pytest

from tests.conftest import Clock
from tests.contract.helpers import body, counted, event, publish_each, record, tokens
from tests.contract.looking import FILTERS, STREAMS, WAIT, all_rows, consumer, ms, shown, state
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


# C36: pending


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c36_pending_lists_what_is_out(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    assert await api.pending("c") == {"data": [], "next": None}
    await api.publish(stream, [event(i, id=str(i)) for i in range(4)])
    first = await api.next("c", 3)
    await api.ack("c", tokens(first)[:1])
    await clock.advance(5000)
    await api.nack("c", tokens(first)[1:2])
    await api.next("c", 1)
    page = await api.pending("c")
    assert page["next"] is None
    assert [set(row) for row in page["data"]] == [{"id", "deliver_count", "delivered_at", "expires_at", "expired", "worker", "reason"}] * 2
    ids = [d["id"] for d in first["data"]]
    assert [(row["id"], row["deliver_count"], row["reason"]) for row in page["data"]] == [(ids[1], 2, None), (ids[2], 1, None)]
    again, once = page["data"]
    assert [ms(row["expires_at"]) - ms(row["delivered_at"]) for row in page["data"]] == [WAIT, WAIT]
    assert 5000 <= ms(again["delivered_at"]) - ms(once["delivered_at"]) < 5000 + WAIT


async def test_c36_pending_lists_what_expired_until_it_is_redelivered(api: Api, clock: Clock) -> None:
    await consumer(api)
    (message_id,) = await publish_each(api, [1])
    await api.next("c")
    await clock.advance(2 * WAIT)
    rows = (await api.pending("c"))["data"]
    assert [(row["id"], row["deliver_count"]) for row in rows] == [(message_id, 1)]
    assert counted(await api.next("c")) == [(1, 2)]
    assert [row["deliver_count"] for row in (await api.pending("c"))["data"]] == [2]


async def test_c36_what_is_dead_is_not_out(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    await api.next("c")
    await clock.advance(WAIT)
    assert await api.pending("c") == {"data": [], "next": None}


async def test_c36_pending_is_paged_in_stream_order(api: Api) -> None:
    await consumer(api)
    ids = await publish_each(api, [1, 2, 3, 4, 5])
    batch = await api.next("c", 5)
    await api.nack("c", tokens(batch)[:2])
    await api.next("c", 2)
    for limit in (1, 2, 3, 5, 6, 1000):
        assert [row["id"] for row in await all_rows(api, "pending", limit=limit)] == ids


async def test_c36_pending_has_100_rows_unless_told(api: Api) -> None:
    await consumer(api)
    await publish_each(api, list(range(101)))
    await api.next("c", 101)
    page = await api.pending("c")
    assert len(page["data"]) == 100
    assert len((await api.pending("c", after=page["next"]))["data"]) == 1


async def test_c36_pending_shows_an_old_version_that_is_still_out(api: Api) -> None:
    await consumer(api, stream_id="records")
    published = await api.publish("records", [record("a", 1)])
    await api.next("c")
    await api.publish("records", [record("a", 2)])
    assert [row["id"] for row in (await api.pending("c"))["data"]] == [published["data"][0]["message_id"]]


# C36: peek


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c36_peek_shows_what_next_would_give(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    assert await api.peek("c") == []
    await api.publish(stream, [event(i, id=str(i)) for i in range(6)])
    assert shown(await api.peek("c", 3)) == [0, 1, 2]
    out = tokens(await api.next("c", 4))
    assert shown(await api.peek("c")) == [4, 5]
    await api.nack("c", out[2:3])
    await api.nack("c", out[3:4], delay_ms=600_000)
    assert shown(await api.peek("c")) == [2, 4, 5]
    await clock.advance(WAIT)
    rows = await api.peek("c", 4)
    assert shown(rows) == [0, 1, 2, 4]
    batch = await api.next("c", 4)
    assert [row["id"] for row in rows] == [d["id"] for d in batch["data"]]
    assert [body(row) for row in rows] == [body(d) for d in batch["data"]]


async def test_c36_peek_does_not_show_what_is_about_to_die(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=3)
    await publish_each(api, [1, 2])
    one, _ = tokens(await api.next("c", 2))
    await api.nack("c", [one])
    await api.nack("c", tokens(await api.next("c", 1)))
    await clock.advance(WAIT)
    assert counted(await api.next("c", 2)) == [(1, 3), (2, 2)]
    await clock.advance(WAIT)
    assert shown(await api.peek("c", 1)) == [2]
    assert counted(await api.next("c", 1)) == [(2, 3)]


async def test_c36_peek_shows_a_record_in_its_newest_version(api: Api) -> None:
    await consumer(api, stream_id="records")
    await api.publish("records", [record("a", 1), record("b", 1)])
    await api.nack("c", tokens(await api.next("c", 1)))
    await api.publish("records", [record("a", 2)])
    assert [(row["record"]["id"], row["record"]["data"]) for row in await api.peek("c")] == [("b", 1), ("a", 2)]


async def test_c36_peek_shows_10_unless_told(api: Api, http: httpx.AsyncClient) -> None:
    await consumer(api)
    await publish_each(api, list(range(1000)))
    assert shown((await http.get("/v1/http-consumers/c/peek")).json()["data"]) == list(range(10))
    assert shown(await api.peek("c", 1000)) == list(range(1000))


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c36_pending_and_peek_change_nothing(api: Api, clock: Clock, stream: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, filters=filters, max_deliver=3)
    await api.publish(stream, [event(i, id=str(i)) for i in range(6)])
    out = tokens(await api.next("c", 4))
    await api.nack("c", out[:1])
    await api.nack("c", out[1:2], delay_ms=WAIT)
    await clock.advance(WAIT)
    before = await state(api)
    for _ in range(5):
        await api.pending("c")
        await api.peek("c", 100)
    after = await state(api)
    assert after[0] == before[0]
    out_before, out_after = ([(row["id"], row["deliver_count"]) for row in seen[1]["data"]] for seen in (before, after))
    assert out_after == out_before
    assert after[2] == before[2] == {"data": [], "next": None}
    assert await api.ack("c", out[2:3]) == {"acked": 1, "stale": []}
    assert counted(await api.next("c", 9)) == [(0, 2), (1, 2), (3, 2), (4, 1), (5, 1)]


async def out_row(api: Api) -> Json:
    rows: list[Json] = (await api.pending("c"))["data"]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("stream", STREAMS)
async def test_c36_extend_moves_when_a_delivery_expires_and_not_when_it_was_made(
    api: Api, clock: Clock, stream: str, filters: Json
) -> None:
    await consumer(api, stream_id=stream, filters=filters)
    await api.publish(stream, [event(1, id="1")])
    given = tokens(await api.next("c"))
    before = await out_row(api)
    for n in (1, 2, 3):
        await clock.advance(3000)
        await api.extend("c", given)
        row = await out_row(api)
        assert abs(ms(row["delivered_at"]) - ms(before["delivered_at"])) < 1000
        assert abs(ms(row["expires_at"]) - ms(before["expires_at"]) - n * 3000) < 1000


async def test_c36_extend_of_a_redelivery_does_not_move_when_it_was_made(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1])
    await api.nack("c", tokens(await api.next("c")))
    given = tokens(await api.next("c"))
    before = await out_row(api)
    await clock.advance(5000)
    await api.extend("c", given)
    after = await out_row(api)
    assert abs(ms(after["delivered_at"]) - ms(before["delivered_at"])) < 1000
    assert abs(ms(after["expires_at"]) - ms(before["expires_at"]) - 5000) < 1000


async def test_c36_backoff_moves_when_a_delivery_is_given_again_and_not_when_it_was_made(api: Api, clock: Clock) -> None:
    await consumer(api, backoff_ms=[20_000])
    await publish_each(api, [1])
    given = tokens(await api.next("c"))
    before = await out_row(api)
    await clock.advance(5000)
    await api.extend("c", given)
    assert abs(ms((await out_row(api))["delivered_at"]) - ms(before["delivered_at"])) < 1000
