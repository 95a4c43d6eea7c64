"""A `next` that settles what its worker has finished (C35)."""

import asyncio

import pytest

from tests.contract.controlling import by_http, consumer, counts, given, post, publish
from tests.contract.helpers import tokens
from tests.support.api import HttpApi, Refused

pytestmark = pytest.mark.anyio
api = by_http


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
