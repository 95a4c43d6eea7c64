"""A consumer starts again, or stands still (C38, C39)."""

import asyncio

import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.controlling import WAIT, by_http, consumer, counts, given, kill, kill_by_reject, post, publish
from tests.contract.helpers import tokens
from tests.support.api import HttpApi, Refused
from tests.support.servers import everywhere

pytestmark = pytest.mark.anyio
api = by_http


async def test_c38_a_reset_at_the_memory_limit_says_what_it_did(api: HttpApi, store: Store) -> None:
    await consumer(api, max_deliver=1)
    await kill(api, 1)
    await publish(api, 2)
    await everywhere(store, "CONFIG", "SET", "maxmemory", "1mb")
    try:
        assert (await post(api, "reset", {"deliver_policy": "all"}))["info"]["num_pending"] == 2
        assert await counts(api) == (2, 0, 0, 0)
    finally:
        await everywhere(store, "CONFIG", "SET", "maxmemory", "0")


async def test_c38_reset_forgets_all_state_and_starts_from_there(api: HttpApi, clock: Clock) -> None:
    await consumer(api, max_deliver=2)
    await kill_by_reject(api)
    await publish(api, 2, 3, 4)
    out = tokens(await api.next("c", 2))
    await api.nack("c", out[:1], 60_000)
    assert await counts(api) == (2, 1, 1, 0)
    shown = await post(api, "reset", {"deliver_policy": "all"})
    assert (shown["deliver_policy"], shown["info"]["num_pending"], shown["info"]["num_dead"]) == ("all", 4, 0)
    assert (await api.ack("c", out))["stale"] == out
    await clock.advance(WAIT)
    assert given(await api.next("c", 9)) == [(1, 1), (2, 1), (3, 1), (4, 1)]
    await post(api, "reset", {"deliver_policy": "last"})
    assert given(await api.next("c", 9)) == [(4, 1)]
    with pytest.raises(Refused) as refused:
        await post(api, "reset", {"deliver_policy": "sometime"})
    assert (refused.value.status, list(refused.value.errors)) == (422, ["deliver_policy"])


async def test_c39_a_paused_consumer_delivers_nothing_and_settles_still_work(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 1, 2)
    held = tokens(await api.next("c"))
    shown = await post(api, "pause", {"until": None})
    assert shown["paused"] is True
    assert await api.next("c", 9, wait_ms=300_000) == {"data": [], "info": {"num_pending": 1, "num_ack_pending": 1}}
    assert await api.ack("c", held) == {"acked": 1, "stale": []}
    assert "paused" not in await post(api, "resume")
    assert given(await api.next("c", 9)) == [(2, 1)]


async def test_c39_a_waiting_call_of_a_paused_consumer_is_held_a_moment_and_gives_what_a_resume_allows(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 1)
    await post(api, "pause", {"until": None})
    call = asyncio.ensure_future(api.next("c", 1, wait_ms=300_000))
    for _ in range(20):
        assert (await api.get_consumer("c"))["paused"]
    assert not call.done()
    await post(api, "resume")
    assert given(await asyncio.wait_for(call, 10)) == [(1, 1)]


async def test_c39_a_pause_ends_by_itself_and_ends_waiting_calls(api: HttpApi, clock: Clock) -> None:
    await consumer(api)
    call = asyncio.ensure_future(api.next("c", 1, wait_ms=300_000))
    while "broker_waiting_calls 1.0" not in (await api.client.get("/metrics")).text:
        await api.get_consumer("c")
    shown = await post(api, "pause", {"until": "2100-01-01T00:00:00Z"})
    assert shown["paused_until"] == "2100-01-01T00:00:00.000Z"
    assert (await call)["data"] == []
    await publish(api, 1)
    assert (await api.next("c"))["data"] == []
    await clock.advance(100 * 366 * 86_400_000)
    assert given(await api.next("c")) == [(1, 1)]
