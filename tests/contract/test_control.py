"""Section 7: extend, outcomes of a nack, settle and fetch, dead letters put back, reset, pause."""

import asyncio
from typing import Any

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.support.api import HttpApi, Json, Refused
from tests.support.servers import everywhere

pytestmark = pytest.mark.anyio
WAIT = 30_000


@pytest.fixture
async def api(http: httpx.AsyncClient) -> HttpApi:
    """These rules are about the HTTP API; the library is a call away from it."""
    return HttpApi(http)


async def consumer(api: HttpApi, **fields: Any) -> None:
    """A consumer `c` of events."""
    await api.create_consumer(name="c", stream_id="events", **fields)


async def publish(api: HttpApi, *data: Any, collection_id: str = "a:b") -> list[str]:
    """Events; gives their message ids."""
    answer = await api.publish("events", [{"collection_id": collection_id, "data": value} for value in data])
    return [row["message_id"] for row in answer["data"]]


async def post(api: HttpApi, path: str, body: Json | None = None) -> Any:
    """POST below the consumer."""
    return await api.call("POST", f"/http-consumers/c/{path}", json=body if body is not None else {})


def given(batch: Json) -> list[tuple[Any, int]]:
    """Data and deliver count of a batch."""
    return [(row["event"]["data"], row["deliver_count"]) for row in batch["data"]]


def tokens(batch: Json) -> list[str]:
    """The tokens of a batch."""
    return [row["ack_token"] for row in batch["data"]]


async def counts(api: HttpApi) -> tuple[int, int, int, int]:
    """num_pending, num_ack_pending, num_dead, num_redelivered."""
    info = (await api.get_consumer("c"))["info"]
    return info["num_pending"], info["num_ack_pending"], info["num_dead"], info["num_redelivered"]


async def test_c33_extend_begins_the_ack_wait_anew_and_the_token_stays_good(api: HttpApi, clock: Clock) -> None:
    await consumer(api)
    await publish(api, 1, 2)
    one, two = tokens(await api.next("c", 2))
    await clock.advance(WAIT - 5000)
    assert await post(api, "extend", {"ack_tokens": [one]}) == {"extended": 1, "stale": []}
    await clock.advance(WAIT - 5000)
    assert given(await api.next("c", 9)) == [(2, 2)]
    assert await counts(api) == (0, 2, 0, 1)
    assert await post(api, "extend", {"ack_tokens": [one, two]}) == {"extended": 1, "stale": [two]}
    assert await api.ack("c", [one]) == {"acked": 1, "stale": []}


async def test_c33_an_extended_delivery_still_expires(api: HttpApi, clock: Clock) -> None:
    await consumer(api)
    await publish(api, 1)
    await post(api, "extend", {"ack_tokens": tokens(await api.next("c"))})
    await clock.advance(WAIT)
    assert given(await api.next("c")) == [(1, 2)]


async def test_c34_release_does_not_count_and_its_token_is_new(api: HttpApi) -> None:
    await consumer(api, max_deliver=2)
    await publish(api, 1)
    seen: set[str] = set()
    for _ in range(5):
        batch = await api.next("c")
        assert given(batch) == [(1, 1)]
        assert not seen & set(tokens(batch))
        seen |= set(tokens(batch))
        await post(api, "nack", {"nacks": [{"ack_token": tokens(batch)[0], "outcome": "release"}]})
    assert (await api.ack("c", sorted(seen)))["acked"] == 0
    await api.nack("c", tokens(await api.next("c")))
    batch = await api.next("c")
    assert given(batch) == [(1, 2)]
    await api.nack("c", tokens(batch))
    assert await counts(api) == (0, 0, 1, 0)


async def test_c34_reject_is_a_dead_letter_at_once_with_its_reason(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 1, 2)
    one, two = tokens(await api.next("c", 2))
    nacks = [{"ack_token": one, "outcome": "reject", "reason": "no such user"}, {"ack_token": two, "delay_ms": 0, "reason": "busy"}]
    assert await post(api, "nack", {"nacks": nacks}) == {"nacked": 2, "stale": []}
    [letter] = (await api.dead_letters("c"))["data"]
    assert (letter["reason"], letter["last_nack_reason"], letter["event"]["data"]) == ("rejected", "no such user", 1)
    assert given(await api.next("c", 9)) == [(2, 2)]
    assert [row["reason"] for row in (await api.pending("c"))["data"]] == ["busy"]


@pytest.mark.parametrize(
    "nacks",
    [[], "x", [{"outcome": "retry"}], [{"ack_token": 1}], [{"ack_token": "k", "outcome": "maybe"}], [{"ack_token": "k", "delay_ms": -1}],
     [{"ack_token": "k", "reason": "x" * 1025}]],
)  # fmt: skip
async def test_c34_a_bad_list_settles_nothing(api: HttpApi, nacks: Any) -> None:
    await consumer(api)
    await publish(api, 1)
    batch = await api.next("c")
    listed = [*nacks, {"ack_token": tokens(batch)[0]}] if nacks and isinstance(nacks, list) else nacks
    with pytest.raises(Refused) as refused:
        await post(api, "nack", {"nacks": listed})
    assert refused.value.status == 400
    assert await counts(api) == (0, 1, 0, 0)


async def test_c35_settle_and_fetch_in_one_step(api: HttpApi) -> None:
    await consumer(api, max_ack_pending=2)
    await publish(api, 1, 2, 3, 4)
    first = tokens(await api.next("c", 9))
    answer = await post(api, "next", {"batch_size": 9, "ack": first[:1], "nack": [{"ack_token": first[1], "delay_ms": 60_000}]})
    assert answer["settled"] == {"acked": 1, "nacked": 1, "stale": []}
    assert given(answer) == [(3, 1), (4, 1)]
    assert answer["info"] == {"num_pending": 1, "num_ack_pending": 2}
    again = await post(api, "next", {"batch_size": 9, "ack": [*first, *tokens(answer)]})
    assert again["settled"] == {"acked": 2, "nacked": 0, "stale": first}
    assert "settled" not in await post(api, "next")


async def test_c35_the_settlement_is_told_also_by_a_call_that_waited(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 1)
    held = tokens(await api.next("c"))
    call = asyncio.ensure_future(post(api, "next", {"ack": held, "wait_for": "20s"}))
    while (await counts(api))[1]:
        pass
    await publish(api, 2)
    answer = await call
    assert (given(answer), answer["settled"]["acked"]) == ([(2, 1)], 1)


async def test_c35_a_string_that_is_no_token_settles_and_delivers_nothing(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 1, 2)
    held = tokens(await api.next("c"))
    with pytest.raises(Refused) as refused:
        await post(api, "next", {"ack": [*held, "nonsense"]})
    assert (refused.value.status, refused.value.code) == (400, "INVALID_ACK_TOKEN")
    assert await counts(api) == (1, 1, 0, 0)


async def kill(api: HttpApi, *data: Any, collection_id: str = "a:b") -> list[str]:
    """Dead letters of `c`, which has max_deliver 1."""
    ids = await publish(api, *data, collection_id=collection_id)
    await api.nack("c", tokens(await api.next("c", len(data))))
    return ids


async def test_c37_redrive_by_ids_for_this_consumer_alone_with_the_count_anew(api: HttpApi) -> None:
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


async def reject(api: HttpApi) -> int:
    """A worker that can do nothing with what it gets."""
    held = tokens(await api.next("c", 1000))
    if held:
        await post(api, "nack", {"nacks": [{"ack_token": token, "outcome": "reject"} for token in held]})
    return len(held)


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


async def kill_by_reject(api: HttpApi) -> None:
    """One dead letter."""
    await publish(api, 1)
    await post(api, "nack", {"nacks": [{"ack_token": tokens(await api.next("c"))[0], "outcome": "reject"}]})


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


async def test_c27_a_limit_that_was_lowered_holds_for_what_waits_for_a_retry(api: HttpApi) -> None:
    await consumer(api, max_deliver=5, ordering="key")
    await publish(api, 1, 2)
    for _ in range(3):
        first, *_ = tokens(await api.next("c"))
        await post(api, "nack", {"nacks": [{"ack_token": first, "delay_ms": 0, "reason": "no"}]})
    await api.update_consumer("c", max_deliver=2)
    assert given(await api.next("c", 9)) == [(2, 1)]
    [dead] = (await api.dead_letters("c"))["data"]
    assert (dead["event"]["data"], dead["deliver_count"], dead["reason"], dead["last_nack_reason"]) == (1, 3, "max_deliver", "no")
    assert await counts(api) == (0, 1, 1, 0)


async def test_c27_a_release_does_not_pass_over_a_limit_that_was_lowered(api: HttpApi) -> None:
    await consumer(api, max_deliver=5)
    await publish(api, 1, 2)
    [first] = tokens(await api.next("c"))
    await post(api, "nack", {"nacks": [{"ack_token": first, "delay_ms": 0, "reason": "no"}]})
    [first] = tokens(await api.next("c"))
    await api.update_consumer("c", max_deliver=1)
    assert await counts(api) == (1, 1, 0, 1)
    await post(api, "nack", {"nacks": [{"ack_token": first, "outcome": "release"}]})
    [dead] = (await api.dead_letters("c"))["data"]
    assert (dead["event"]["data"], dead["deliver_count"], dead["reason"], dead["last_nack_reason"]) == (1, 1, "max_deliver", "no")
    assert given(await api.next("c", 9)) == [(2, 1)]


async def test_c35_what_was_settled_is_told_also_where_the_call_may_not_wait(api: HttpApi) -> None:
    await consumer(api, max_waiting=1)
    await publish(api, 1, 2)
    one, two = tokens(await api.next("c", 2))
    waiting = asyncio.ensure_future(api.next("c", 1, wait_ms=300_000))
    while "broker_waiting_calls 1.0" not in (await api.client.get("/metrics")).text:
        await api.get_consumer("c")
    with pytest.raises(Refused) as refused:
        await api.next("c", 1, wait_ms=1000)
    assert refused.value.code == "TOO_MANY_WAITING"
    answer = await post(api, "next", {"ack": [one, two], "wait_for": 1000})
    assert (answer["data"], answer["settled"]) == ([], {"acked": 2, "nacked": 0, "stale": []})
    await publish(api, 3)
    assert given(await waiting) == [(3, 1)]


async def test_c35_what_was_settled_is_told_also_where_the_consumer_ends_meanwhile(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 1)
    held = tokens(await api.next("c"))
    call = asyncio.ensure_future(post(api, "next", {"ack": held, "wait_for": "5m"}))
    while "broker_waiting_calls 1.0" not in (await api.client.get("/metrics")).text:
        await api.get_consumer("c")
    await api.delete_consumer("c")
    assert (await call)["settled"] == {"acked": 1, "nacked": 0, "stale": []}


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
