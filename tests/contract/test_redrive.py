"""Dead letters are put back or purged (C37)."""

import asyncio
from typing import Any

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.controlling import by_http, consumer, counts, given, kill, post, publish, reject
from tests.contract.helpers import tokens
from tests.support.api import HttpApi, Json, Refused
from tests.support.servers import everywhere

pytestmark = pytest.mark.anyio
api = by_http


async def test_c37_redrive_by_ids_for_this_consumer_alone_with_a_new_count(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    ids = await kill(api, 1, 2, 3)
    await api.create_consumer(name="other", stream_id="events", deliver_policy="new")
    assert await post(api, "dead-letters/redrive", {"ids": [ids[0], ids[2], "1-1"]}) == {"redriven": 2, "gone": 0}
    batch = await api.next("c", 9)
    assert given(batch) == [(1, 1), (3, 1)]
    assert (await api.next("other"))["data"] == []
    await api.nack("c", tokens(batch)[:1])
    assert [row["event"]["data"] for row in (await api.dead_letters("c"))["data"]] == [2, 1]


async def test_c37_redrive_by_filter_with_a_limit_and_a_dry_run(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    await kill(api, 1, 2, 3)
    await kill(api, 4, collection_id="x:y")
    assert await post(api, "dead-letters/redrive", {"collection_id": "a:b", "dry_run": True}) == {"redriven": 3, "gone": 0}
    assert await counts(api) == (0, 0, 4, 0)
    assert await post(api, "dead-letters/redrive", {"collection_id": "a:b", "limit": 2}) == {"redriven": 2, "gone": 0}
    assert await post(api, "dead-letters/redrive", {"reason": "rejected"}) == {"redriven": 0, "gone": 0}
    assert await counts(api) == (2, 0, 2, 0)
    assert await post(api, "dead-letters/redrive") == {"redriven": 2, "gone": 0}
    assert given(await api.next("c", 9)) == [(1, 1), (2, 1), (3, 1), (4, 1)]


async def test_c37_what_left_the_stream_is_gone_and_stays_a_dead_letter(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    await kill(api, 1, 2)
    await api.update_stream("events", max_messages=1)
    assert await post(api, "dead-letters/redrive") == {"redriven": 1, "gone": 1}
    assert [row["event"]["data"] for row in (await api.dead_letters("c"))["data"]] == [1]


@pytest.mark.parametrize("which", [{"ids": True}, {"reason": "max_deliver"}, {"reason": "max_deliver", "dry_run": True}])
async def test_c37_what_is_too_old_is_gone_whoever_looks_first(api: HttpApi, clock: Clock, which: Json) -> None:
    await api.update_stream("events", max_age_ms=1500)
    await consumer(api, max_deliver=1)
    ids = await kill(api, 1)
    await clock.advance(1600)
    assert await post(api, "dead-letters/redrive", which | ({"ids": ids} if "ids" in which else {})) == {"redriven": 0, "gone": 1}
    assert await counts(api) == (0, 0, 1, 0)


async def test_c37_what_is_gone_is_not_counted_against_the_limit(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    await kill(api, 1, 2, 3, 4, 5)
    await api.update_stream("events", max_messages=2)
    expected = [(True, 1), (False, 1), (True, 1), (False, 1), (True, 0), (False, 0)]
    for dry_run, redriven in expected:
        answer = await post(api, "dead-letters/redrive", {"limit": 1, "dry_run": dry_run})
        assert answer == {"redriven": redriven, "gone": 3}
    assert given(await api.next("c", 9)) == [(4, 1), (5, 1)]


async def test_c37_the_few_are_found_among_thousands(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    for n in range(3):
        await kill(api, *range(700))
        await kill(api, n, collection_id="x:y")
    for limit, found in ((1, 1), (2, 2), (9, 3), (None, 3)):
        wanted = {"collection_id": "x:y", "limit": limit, "dry_run": True}
        assert await post(api, "dead-letters/redrive", wanted) == {"redriven": found, "gone": 0}
    first = await api.dead_letters("c", collection_id="x:y", limit=2)
    rest = await api.dead_letters("c", collection_id="x:y", after=first["next"])
    assert [row["event"]["data"] for row in first["data"] + rest["data"]] == [0, 1, 2]
    assert rest["next"] is None
    assert await post(api, "dead-letters/redrive", {"collection_id": "x:y"}) == {"redriven": 3, "gone": 0}


async def test_c37_a_redrive_puts_back_what_was_dead_when_it_began(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, *range(1000))
    assert await reject(api) == 1000
    redrive = asyncio.create_task(post(api, "dead-letters/redrive"))
    while not redrive.done():
        await asyncio.gather(*(reject(api) for _ in range(3)))
    assert await redrive == {"redriven": 1000, "gone": 0}


async def test_c37_two_redrives_at_once_put_each_letter_back_once(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    await kill(api, *range(1000))
    done = await asyncio.gather(*(post(api, "dead-letters/redrive", {"collection_id": "a:b"}) for _ in range(3)))
    assert (sum(d["redriven"] for d in done), [d["gone"] for d in done]) == (1000, [0, 0, 0])
    assert given(await api.next("c", 1000)) == [(n, 1) for n in range(1000)]


async def test_c37_a_redrive_stops_when_its_caller_goes(api: HttpApi, http: httpx.AsyncClient) -> None:
    await consumer(api, max_deliver=1)
    await kill(api, *range(1000))
    parts: list[Json] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{}"}]
    path = "/v1/http-consumers/c/dead-letters/redrive"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}

    async def receive() -> Any:
        return parts.pop() if len(parts) > 1 else parts[0]

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there")

    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    await transport.app(scope, receive, send)
    assert (await counts(api))[2] > 800  # one step was made, or none


async def test_c3_a_redrive_works_at_the_memory_limit(api: HttpApi, store: Store) -> None:
    await consumer(api)
    await publish(api, 1)
    await reject(api)
    await everywhere(store, "CONFIG", "SET", "maxmemory", "1mb")
    try:
        assert await post(api, "dead-letters/redrive") == {"redriven": 1, "gone": 0}
    finally:
        await everywhere(store, "CONFIG", "SET", "maxmemory", "0")


async def test_c37_purge_by_ids_and_all(api: HttpApi) -> None:
    await consumer(api, max_deliver=1)
    ids = await kill(api, 1, 2, 3)
    path = "/http-consumers/c/dead-letters"
    assert await api.call("DELETE", path, params={"ids": f"{ids[1]},1-1"}) == {"purged": 1}
    assert await api.call("DELETE", path, params={"ids": [ids[0], ids[2]]}) == {"purged": 2}
    await kill(api, 4, 5)
    with pytest.raises(Refused) as refused:
        await api.call("DELETE", path)
    assert refused.value.status == 400
    assert await api.call("DELETE", path, params={"all": "true"}) == {"purged": 2}
    assert await counts(api) == (0, 0, 0, 0)
