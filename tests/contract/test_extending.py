"""A longer ack wait, and the outcomes of a nack (C27, C33, C34)."""

from typing import Any

import pytest

from tests.conftest import Clock
from tests.contract.controlling import WAIT, by_http, consumer, counts, given, post, publish
from tests.contract.helpers import tokens
from tests.support.api import HttpApi, Refused

pytestmark = pytest.mark.anyio
api = by_http


async def test_c33_extend_restarts_the_ack_wait_and_the_token_stays_good(api: HttpApi, clock: Clock) -> None:
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


@pytest.mark.parametrize("first", [True, False])
async def test_c36_an_extended_delivery_has_expired_when_it_would_have(api: HttpApi, clock: Clock, first: bool) -> None:
    await consumer(api, backoff_ms=[1000, 2000])
    await publish(api, 1)
    batch = await api.next("c")
    if not first:
        await clock.advance(WAIT + 1000)
        batch = await api.next("c")
    await clock.advance(WAIT - 5000)
    await post(api, "extend", {"ack_tokens": tokens(batch)})
    [extended] = (await api.pending("c"))["data"]
    await clock.advance(WAIT + 5000)
    assert (await api.get_consumer("c"))["info"]["num_ack_pending"] == 1
    [expired] = (await api.pending("c"))["data"]
    assert expired == extended | {"expired": True}
    state = await api.call("GET", f"/streams/events/messages/{extended['id']}")
    assert state["consumers"][0]["expires_at"] == extended["expires_at"]
    assert await api.ack("c", tokens(batch)) == {"acked": 1, "stale": []}


async def test_c34_a_reason_is_kept_whole(api: HttpApi) -> None:
    await consumer(api, max_deliver=2)
    await publish(api, 1)
    reason = "a\0b é"
    await post(api, "nack", {"nacks": [{"ack_token": tokens(await api.next("c"))[0], "reason": reason}]})
    assert (await api.call("GET", "/http-consumers/c/retrying"))["data"][0]["reason"] == reason
    batch = await api.next("c")
    assert (await api.pending("c"))["data"][0]["reason"] == reason
    await api.nack("c", tokens(batch))
    assert (await api.dead_letters("c"))["data"][0]["last_nack_reason"] == reason


async def test_c27_a_release_of_what_a_lower_max_deliver_has_exhausted_is_its_death(api: HttpApi) -> None:
    await consumer(api)
    [message_id] = await publish(api, 1)
    for _ in range(3):
        await api.nack("c", tokens(await api.next("c")))
    await api.next("c")
    await api.call("PATCH", "/http-consumers/c", json={"max_deliver": 2})
    assert await post(api, "pending/release", {"ids": [message_id]}) == {"released": 1}
    assert await counts(api) == (0, 0, 1, 0)
    assert (await api.dead_letters("c"))["data"][0]["deliver_count"] == 3


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
