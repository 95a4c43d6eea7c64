"""C52: requests that come at once are answered in order, one by one, and no more is read than is answered."""

import asyncio
import json

import pytest

from broker import Broker
from http_api.edge.connection import Connection
from http_api.edge.limits import Limits
from tests.support.wire import PUBLISH, Edge, edge

pytestmark = pytest.mark.anyio

EVENT = {"collection_id": "a:b", "data": 1}


async def counts(server: Edge) -> tuple[int, int]:
    info = (await server.call("GET", "/http-consumers/c")).json["info"]
    return info["num_pending"], info["num_ack_pending"]


async def test_c52_answers_come_in_the_order_of_the_requests(server: Edge) -> None:
    async with server.wire() as wire:
        for n in range(200):
            wire.ask("GET", f"/streams/none{n}", None, f"X-Request-Id: {n}")
            wire.ask("POST", "/streams/events/messages", json.dumps({"messages": [EVENT] * (1 + n % 3)}).encode())
        for n in range(200):
            answer = await wire.answer()
            assert (answer.code, answer.headers["x-request-id"]) == ("STREAM_NOT_FOUND", str(n))
            assert (await wire.answer()).json["info"] == {"created": 1 + n % 3}


async def test_c52_requests_cut_anywhere_are_the_same(server: Edge) -> None:
    body = json.dumps({"messages": [EVENT]}).encode()
    head = PUBLISH.replace("\n", "\r\n").encode()
    one = head + b"Content-Length: %d\r\n\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\n%b\r\n%x\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (
        body[:5], len(body) - 5, body[5:],
    )  # fmt: skip
    text = (one % len(body) + body + chunked) * 20
    for step in (7, 61, 1024, 5000, len(text)):
        async with server.wire() as wire:
            for at in range(0, len(text), step):
                wire.say(text[at : at + step])
                await asyncio.sleep(0)
            assert [(await wire.answer()).json["info"] for _ in range(40)] == [{"created": 1}] * 40


async def test_c52_pipelined_waiting_calls_take_nothing_when_their_client_goes(server: Edge) -> None:
    await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
    async with server.wire() as wire:
        wire.ask("GET", "/http-consumers/c/next?wait_for=20s")
        wire.ask("GET", "/http-consumers/c/next?wait_for=20s")
        await server.waiting(1)
        wire.close()
    await server.all_closed()
    await server.call("POST", "/streams/events/messages", {"messages": [EVENT]})
    assert await counts(server) == (1, 0)


async def test_c52_nothing_is_done_for_a_client_that_has_gone(server: Edge) -> None:
    for name, stream in (("c", "events"), ("d", "records")):
        await server.call("POST", "/http-consumers", {"name": name, "stream_id": stream})
    await server.call("POST", "/streams/events/messages", {"messages": [EVENT]})
    async with server.wire() as wire:
        wire.ask("GET", "/http-consumers/d/next?wait_for=20s")
        wire.ask("GET", "/http-consumers/c/next")
        wire.ask("DELETE", "/streams/records?force=true")
        await server.waiting(1)
        wire.close()
    await server.all_closed()
    assert await counts(server) == (1, 0)
    assert (await server.call("GET", "/streams/records")).status == 200


async def test_c52_a_waiting_call_ends_when_its_client_sends_so_much_that_its_leaving_would_go_unnoticed(
    broker: Broker,
) -> None:
    async with edge(broker, Limits(ahead_bytes=4096)) as server:
        await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
        async with server.wire() as wire:
            wire.ask("GET", "/http-consumers/c/next?wait_for=5m")
            await server.waiting(1)
            for _ in range(200):
                wire.ask("GET", "/streams/events")
            assert (await wire.answer()).json["data"] == []
            assert [(await wire.answer()).status for _ in range(200)] == [200] * 200
        assert await counts(server) == (0, 0)


async def test_c52_a_call_that_waits_is_answered_before_what_came_after_it(server: Edge) -> None:
    await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
    async with server.wire() as wire:
        wire.ask("GET", "/http-consumers/c/next?wait_for=20s")
        wire.ask("GET", "/streams/events")
        await server.waiting(1)
        await server.call("POST", "/streams/events/messages", {"messages": [EVENT]})
        assert len((await wire.answer()).json["data"]) == 1
        assert (await wire.answer()).json["id"] == "events"


async def test_c52_nothing_more_is_read_of_a_client_that_reads_no_answers(broker: Broker) -> None:
    request = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sent = 0
    async with edge(broker, buffer=4096) as server, server.wire(buffer=4096) as wire:
        with pytest.raises(TimeoutError):
            while True:
                wire.say(request * 100)
                sent += 100
                await asyncio.wait_for(wire.writer.drain(), 0.2)
        [connection] = server.state.connections
        assert isinstance(connection, Connection)
        assert connection.transport.get_write_buffer_size() < 200_000
        assert len(connection._unparsed) < 400_000
        # Whoever reads at last is answered all.
        for _ in range(sent):
            assert (await wire.answer()).status == 404


async def test_c52_what_cannot_be_read_is_refused_after_the_answers_before_it(server: Edge) -> None:
    async with server.wire() as wire:
        wire.ask("GET", "/streams/events")
        wire.ask("GET", "/streams/records")
        wire.say("GARBAGE\n\n")
        wire.ask("GET", "/streams/records")
        assert [(await wire.answer()).json.get("id") for _ in range(2)] == ["events", "records"]
        refusal = await wire.answer()
        assert (refusal.status, refusal.code, refusal.headers["connection"]) == (400, "INVALID_REQUEST", "close")
        assert await wire.is_closed()


async def test_c52_what_comes_after_a_request_that_closes_is_not_served(server: Edge) -> None:
    async with server.wire() as wire:
        wire.ask("GET", "/streams/events", None, "Connection: close")
        wire.ask("DELETE", "/streams/events")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.is_closed()
    assert (await server.call("GET", "/streams/events")).status == 200
