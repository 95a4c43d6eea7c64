"""C52: a client that is too slow gets an error, or is cut if it does not read. The tests set short times."""

import asyncio
import json
import logging

import pytest

from broker import Broker
from http_api.edge.limits import DEFAULT, Limits
from tests.support.wire import edge

pytestmark = pytest.mark.anyio

QUICK = Limits(head_s=0.3, body_s=0.3, reader_s=0.3, dropping_s=0.3, idle_s=0.3)
PUBLISH = "POST /v1/streams/events/messages HTTP/1.1\nHost: localhost\n"
LINE = b'{"collection_id":"a:b","data":1}\n'


def test_c52_the_times_that_users_have() -> None:
    assert (DEFAULT.head_s, DEFAULT.body_s, DEFAULT.reader_s) == (10, 30, 60)


@pytest.fixture(autouse=True)
def nothing_is_logged_as_a_fault(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("begun", ["G", "GET /v1/streams", "GET /v1/streams HTTP/1.1\n", "GET /v1/streams HTTP/1.1\nHost: localhost\nX: y"])
async def test_c52_a_head_that_does_not_come_is_408(broker: Broker, begun: str) -> None:
    async with edge(broker, QUICK) as server, server.wire() as wire:
        wire.say(begun)
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "REQUEST_TIMEOUT", "close")
        assert await wire.is_closed()


async def test_c52_a_head_that_trickles_is_408_however_steadily(broker: Broker) -> None:
    async with edge(broker, QUICK) as server, server.wire() as wire:
        wire.ask("GET", "/streams/events")  # the time counts from the first byte of a request
        assert (await wire.answer()).status == 200
        wire.say("GET /v1/streams HTTP/1.1\n")
        reading = asyncio.create_task(wire.answer())
        while not reading.done():
            wire.say("X")
            await asyncio.sleep(0.02)
        assert (await reading).code == "REQUEST_TIMEOUT"


async def test_c52_a_body_that_stalls_is_408(broker: Broker) -> None:
    async with edge(broker, QUICK) as server, server.wire() as wire:
        wire.say(PUBLISH + "Content-Type: application/json\nContent-Length: 1000\n\n{")
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "REQUEST_TIMEOUT", "close")
        assert await wire.is_closed()


async def test_c52_a_body_that_goes_on_is_waited_for(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("http_api.bodies.codec._SLOWEST_S", 0.3)  # counts for bodies that occupy memory
    body = json.dumps({"messages": [{"collection_id": "a:b", "data": 1}]}).encode()
    async with edge(broker, QUICK) as server, server.wire() as wire:
        wire.say(PUBLISH + f"Content-Type: application/json\nContent-Length: {len(body)}\n\n")
        for byte in body:
            wire.say(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await wire.answer()).json["info"] == {"created": 1}


async def test_c52_lines_that_stall_are_408_and_say_how_many_are_stored(broker: Broker) -> None:
    async with edge(broker, QUICK) as server, server.wire() as wire:
        lines = LINE * 300
        wire.say(
            PUBLISH + "Content-Type: application/x-ndjson\nTransfer-Encoding: chunked\n\n",
            b"%x\r\n%b\r\n" % (len(lines), lines),
        )
        answer = await wire.answer()
        stored = (await server.call("GET", "/streams/events")).json["info"]["messages"]
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        assert f"{stored} messages before it are stored" in answer.json["summary"]


async def test_c52_a_reader_that_takes_nothing_is_cut(broker: Broker) -> None:
    async with edge(broker, QUICK) as server:
        message = {"collection_id": "a:b", "data": "x" * 900_000}
        for _ in range(9):
            await server.call("POST", "/streams/events/messages", {"messages": [message]})
        async with server.wire(buffer=4096) as wire:
            wire.ask("GET", "/streams/events/messages")
            await server.all_closed()


async def test_c52_a_reader_that_takes_little_at_a_time_gets_all(broker: Broker) -> None:
    async with edge(broker, QUICK) as server:
        message = {"collection_id": "a:b", "data": "x" * 900_000}
        for _ in range(9):
            await server.call("POST", "/streams/events/messages", {"messages": [message]})
        async with server.wire(buffer=65536) as wire:
            wire.ask("GET", "/streams/events/messages")
            head = await wire.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            read = 0
            while read < length:
                part = await wire.reader.read(1 << 17)
                assert part
                read += len(part)
                await asyncio.sleep(0.005)
            assert read == length


async def test_c52_a_connection_that_says_nothing_is_closed(broker: Broker) -> None:
    async with edge(broker, QUICK) as server, server.wire() as silent, server.wire() as wire:
        wire.ask("GET", "/streams/events")
        assert (await wire.answer()).status == 200
        assert await wire.is_closed()
        assert await silent.is_closed()


async def test_c52_a_call_that_waits_is_under_no_time_but_its_own(broker: Broker) -> None:
    async with edge(broker, QUICK) as server, server.wire() as wire:
        await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
        wire.ask("GET", "/http-consumers/c/next?wait_for=1s")
        assert (await wire.answer()).json["data"] == []
