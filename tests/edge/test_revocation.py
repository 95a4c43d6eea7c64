"""C2: a call that waits when its token is revoked ends with 401, and takes no message."""

import asyncio

import pytest

from broker import Broker
from broker.access.tokens import AccessTokens
from tests.support.polling import eventually
from tests.support.wire import Edge, edge

pytestmark = pytest.mark.anyio


async def test_c2_calls_that_wait_end_with_401_and_take_nothing(broker: Broker) -> None:
    async with edge(broker, is_open=False) as server:
        admin = await server.token("root", "admin")
        worker = await server.token("worker", "consume:c")
        await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"}, admin)
        calls = [asyncio.create_task(server.call("GET", "/http-consumers/c/next?wait_for=5m", None, worker)) for _ in range(3)]
        calls.append(asyncio.create_task(server.call("POST", "/http-consumers/c/next", {"wait_for": "5m"}, worker)))
        others = asyncio.create_task(server.call("GET", "/http-consumers/c/next?wait_for=5m", None, admin))
        await server.waiting(5)
        await AccessTokens(broker.store).revoke("worker")  # by another process
        answers = await asyncio.gather(*calls)
        assert [(a.status, a.code, a.headers["www-authenticate"]) for a in answers] == [(401, "UNAUTHENTICATED", "Bearer")] * 4
        await server.call(
            "POST",
            "/streams/events/messages",
            {"messages": [{"collection_id": "a:b", "data": n} for n in range(2)]},
            admin,
        )
        assert len((await others).json["data"]) == 1
        info = (await server.call("GET", "/http-consumers/c", None, admin)).json["info"]
        assert (info["num_pending"], info["num_ack_pending"]) == (1, 1)


async def test_c2_calls_that_wait_on_an_open_server_end_when_it_is_shut(server: Edge) -> None:
    await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
    call = asyncio.create_task(server.call("GET", "/http-consumers/c/next?wait_for=5m"))
    await server.waiting(1)
    await AccessTokens(server.broker.store).create("root", ["admin"])
    assert (await call).status == 401


async def test_c2_another_tokens_end_ends_nothing(broker: Broker) -> None:
    async with edge(broker, is_open=False) as server:
        admin = await server.token("root", "admin")
        await server.token("other", "admin")
        await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"}, admin)
        call = asyncio.create_task(server.call("GET", "/http-consumers/c/next?wait_for=5m", None, admin))
        await server.waiting(1)
        await server.tokens.revoke("other")
        await eventually(lambda: len(server.tokens._known) == 1)
        await server.call("POST", "/streams/events/messages", {"messages": [{"collection_id": "a:b", "data": 1}]}, admin)
        assert len((await call).json["data"]) == 1
