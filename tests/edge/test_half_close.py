"""C52: a client that sends no more is still answered, and a call that waits ends then and takes nothing."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.wire import PUBLISH, Edge

pytestmark = pytest.mark.anyio

EVENT = {"collection_id": "a:b", "data": 1}
EVENTS = json.dumps({"messages": [EVENT]}).encode()


async def consumer(server: Edge, **fields: Any) -> None:
    await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"} | fields)


async def counts(server: Edge) -> tuple[int, int]:
    info = (await server.call("GET", "/http-consumers/c")).json["info"]
    return info["num_pending"], info["num_ack_pending"]


@pytest.mark.parametrize("headers", [(), ("Connection: close",), ("Connection: Upgrade", "Upgrade: h2c")])
async def test_c52_a_publish_is_answered(server: Edge, headers: tuple[str, ...]) -> None:
    async with server.wire() as wire:
        wire.ask("POST", "/streams/events/messages", EVENTS, *headers)
        wire.end()
        assert (await wire.answer()).json["info"] == {"created": 1}
        assert await wire.is_closed()


async def test_c52_a_client_of_http_1_0_is_answered(server: Edge) -> None:
    async with server.wire() as wire:
        wire.say("GET /v1/streams/events HTTP/1.0\n\n")
        wire.end()
        answer = await wire.answer()
        assert (answer.json["id"], answer.headers["connection"]) == ("events", "close")
        assert await wire.is_closed()


@pytest.mark.parametrize("query", ["", "?wait_for=20s"])
async def test_c52_a_next_that_finds_a_message_gives_it(server: Edge, query: str) -> None:
    await consumer(server)
    await server.call("POST", "/streams/events/messages", {"messages": [EVENT]})
    async with server.wire() as wire:
        wire.ask("GET", f"/http-consumers/c/next{query}")
        wire.end()
        assert len((await wire.answer()).json["data"]) == 1
        assert await wire.is_closed()
    assert await counts(server) == (0, 1)


async def test_c52_a_call_that_waits_ends_empty_and_takes_no_message(server: Edge) -> None:
    await consumer(server)
    async with server.wire() as wire:
        wire.ask("GET", "/http-consumers/c/next?wait_for=5m")
        await server.waiting(1)
        wire.end()
        answer = await wire.answer()
        assert (answer.status, answer.json) == (200, {"data": [], "info": {"num_pending": 0, "num_ack_pending": 0}})
        assert await wire.is_closed()
    await server.call("POST", "/streams/events/messages", {"messages": [EVENT]})
    assert await counts(server) == (1, 0)


async def test_c52_a_call_that_settles_and_waits_says_what_it_settled(server: Edge) -> None:
    await consumer(server)
    await server.call("POST", "/streams/events/messages", {"messages": [EVENT]})
    token = (await server.call("GET", "/http-consumers/c/next")).json["data"][0]["ack_token"]
    async with server.wire() as wire:
        wire.ask("POST", "/http-consumers/c/next", json.dumps({"wait_for": "5m", "ack": [token]}).encode())
        wire.end()
        assert (await wire.answer()).json["settled"] == {"acked": 1, "nacked": 0, "stale": []}


async def test_c52_all_requests_before_the_end_are_answered(server: Edge) -> None:
    async with server.wire() as wire:
        for _ in range(50):
            wire.ask("POST", "/streams/events/messages", EVENTS)
        wire.end()
        assert [(await wire.answer()).json["info"] for _ in range(50)] == [{"created": 1}] * 50
        assert await wire.is_closed()


async def test_c52_work_of_many_steps_goes_on_for_a_client_that_still_reads(server: Edge) -> None:
    await consumer(server, max_deliver=1)
    events = {"messages": [EVENT] * 1000}
    for _ in range(5):
        await server.call("POST", "/streams/events/messages", events)
        batch = (await server.call("POST", "/http-consumers/c/next", {"batch_size": 1000})).json["data"]
        tokens = [row["ack_token"] for row in batch]
        assert (await server.call("POST", "/http-consumers/c/nack", {"ack_tokens": tokens})).json["nacked"] == 1000
    async with server.wire() as wire:
        wire.ask("POST", "/http-consumers/c/dead-letters/redrive", b"{}")
        wire.end()
        assert (await wire.answer()).json == {"redriven": 5000, "gone": 0}


async def test_c37_a_redrive_stops_when_its_caller_closes(server: Edge) -> None:
    await consumer(server, max_deliver=1)
    letters = server.broker.dead_letters
    begun, steps = asyncio.Event(), 0

    async def step(*_: object) -> tuple[str, list[Any]]:
        nonlocal steps
        steps += 1
        begun.set()
        await asyncio.sleep(0.01)
        return "events", [1, 0, b"1-1", b"2-2"]

    letters._engine = type("Endless", (), {"on_consumer": staticmethod(step)})()  # so many that it never ends
    async with server.wire() as wire:
        wire.ask("POST", "/http-consumers/c/dead-letters/redrive", b"{}")
        await begun.wait()
        wire.close()
    await server.all_closed()
    made = steps
    await asyncio.sleep(0.05)
    assert steps == made


@pytest.mark.parametrize("begun", [b"", b"GET /v1/str", b"GET /v1/streams HTTP/1.1\r\nHost: lo"])
async def test_c52_a_client_that_ends_before_its_request_is_whole_is_closed(server: Edge, begun: bytes) -> None:
    async with server.wire() as wire:
        wire.say(begun)
        wire.end()
        assert await wire.is_closed()


async def test_c52_a_body_that_ends_early_stores_nothing(server: Edge) -> None:
    async with server.wire() as wire:
        wire.ask("GET", "/streams/events")
        head = PUBLISH + f"Content-Length: {len(EVENTS)}\n\n"
        wire.say(head, EVENTS[:-1])
        wire.end()
        assert (await wire.answer()).json["info"]["messages"] == 0
        assert await wire.is_closed()
    assert (await server.call("GET", "/streams/events")).json["info"]["messages"] == 0
