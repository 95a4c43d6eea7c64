"""C52, C53: what is too large is refused in the one shape, and a client that is still sending can read that."""

import asyncio
import json
import logging
import urllib.error
import urllib.request

import pytest

from broker import Broker
from http_api.edge.limits import DEFAULT, KIB, MIB, Limits
from tests.support.wire import PUBLISH, Edge, Wire, edge

pytestmark = pytest.mark.anyio

EVENTS = json.dumps({"messages": [{"collection_id": "a:b", "data": 1}]}).encode()


@pytest.fixture(autouse=True)
def nothing_is_logged_as_a_fault(caplog: pytest.LogCaptureFixture) -> object:
    yield
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def refused(wire: Wire, status: int, code: str) -> None:
    answer = await wire.answer()
    assert (answer.status, answer.code, answer.headers["connection"]) == (status, code, "close")


async def test_c52_headers_of_64_kib_are_taken_and_more_are_431(server: Edge) -> None:
    host = len("Host: localhost\r\n")
    for extra, status in ((0, 200), (1, 431)):
        async with server.wire() as wire:
            wire.ask("GET", "/streams/events", None, "X: " + "y" * (64 * KIB - host - len("X: \r\n") + extra))
            assert (await wire.answer()).status == status


@pytest.mark.parametrize("step", [1000, 1 << 20])
async def test_c52_many_headers_are_431(server: Edge, step: int) -> None:
    text = b"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(9000)) + b"\r\n"
    async with server.wire() as wire:
        for at in range(0, len(text), step):
            wire.say(text[at : at + step])
        await refused(wire, 431, "HEADERS_TOO_LARGE")


@pytest.mark.parametrize("begun", [b"X: ", b"x" * 70_000])
async def test_c52_a_header_without_end_is_431_soon_and_read_no_further_than_64_mib(server: Edge, begun: bytes) -> None:
    async with server.wire() as wire:
        wire.say("GET /v1/streams HTTP/1.1\nHost: localhost\n", begun)
        for _ in range(3):
            wire.say(b"y" * (1 << 20))
        await refused(wire, 431, "HEADERS_TOO_LARGE")
        with pytest.raises(ConnectionError):  # it is cut
            for _ in range(100):
                wire.say(b"y" * (1 << 20))
                await wire.writer.drain()


@pytest.mark.parametrize("address", ["/v1/streams/" + "x" * 40_000, "/v1/streams?after=" + "x" * 300_000])
async def test_c52_an_address_that_is_too_long_is_414(server: Edge, address: str) -> None:
    async with server.wire() as wire:
        wire.say(f"GET {address} HTTP/1.1\nHost: localhost\n\n")
        await refused(wire, 414, "URI_TOO_LONG")


async def test_c52_a_thousand_ids_have_room_in_an_address(server: Edge) -> None:
    await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
    ids = "%2C".join(f"{1795878630028 + n}-0" for n in range(1000))
    assert (await server.call("DELETE", f"/http-consumers/c/dead-letters?ids={ids}")).json == {"purged": 0}


@pytest.mark.parametrize("head", [
    "GET /v1/streams HTTP/1.1\n\n",  # no Host
    "GET /v1/streams HTTP/1.1\nHost: localhost\nHost: evil.example\n\n",
    "GET /v1/streams HTTP/1.1\nHost: localhost\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
    "GET /v1/streams HTTP/1.1\nHost: localhost\nContent-Length: 1\nContent-Length: 2\n\n",
    PUBLISH + "Transfer-Encoding: gzip, chunked\n\n0\n\n",
    PUBLISH + "Transfer-Encoding: gzip\nTransfer-Encoding: chunked\n\n0\n\n",
    "GET /v1/streams HTTP/1.1\nHost: localhost\nContent-Length: -1\n\n",
    "GET /v1/streams HTTP/9.9\nHost: localhost\n\n",
    "GET /v1/str\x00eams HTTP/1.1\nHost: localhost\n\n",
    "\x16\x03\x01\x02\x00",  # TLS
])  # fmt: skip
async def test_c3_what_is_no_request_is_400(server: Edge, head: str) -> None:
    async with server.wire() as wire:
        wire.say(head)
        await refused(wire, 400, "INVALID_REQUEST")
        assert await wire.is_closed()


async def test_c3_a_chunk_that_is_none_is_400_and_nothing_is_stored(server: Edge) -> None:
    async with server.wire() as wire:
        wire.say(PUBLISH + "Transfer-Encoding: chunked\n\n")
        wire.say(b"%x\r\n%b\r\n" % (len(EVENTS), EVENTS))
        await server.call("GET", "/streams")  # by then the server has read so much
        wire.say("no size\n")
        await refused(wire, 400, "INVALID_REQUEST")
    assert (await server.call("GET", "/streams/events")).json["info"]["messages"] == 0


# Trailers


async def trailed(server: Edge, *trailers: str) -> int:
    """The status of a call that needs a token, with trailers after its body."""
    async with server.wire() as wire:
        head = PUBLISH + "Transfer-Encoding: chunked\n\n"
        wire.say(head, b"%x\r\n%b\r\n0\r\n" % (len(EVENTS), EVENTS), "\n".join((*trailers, "", "")))
        return (await wire.answer()).status


async def test_c52_trailers_are_no_headers(broker: Broker) -> None:
    async with edge(broker, is_open=False) as server:
        assert await trailed(server, await server.token("a")) == 401


async def test_c52_trailers_are_dropped_and_bounded(server: Edge) -> None:
    assert await trailed(server, "X-Checksum: 1", "Content-Type: text/plain") == 200
    assert await trailed(server, *(f"a{n}: b" for n in range(9000))) == 431


# Bodies that are refused


@pytest.mark.parametrize("headers", [(), ("Connection: close",)])
@pytest.mark.parametrize("size", [9 * MIB, 60 * MIB])
async def test_c53_who_writes_all_of_an_oversized_body_first_reads_413(server: Edge, size: int, headers: tuple[str, ...]) -> None:
    async with server.wire() as wire:
        lines = (
            "POST /v1/streams/events/messages HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {size}",
        )
        wire.say("\n".join((*lines, *headers, "", "")))
        for _ in range(size // MIB):
            wire.say(b"x" * MIB)
            await wire.writer.drain()
        assert (await wire.answer()).code == "PAYLOAD_TOO_LARGE"
        if not headers:  # and the connection goes on
            wire.ask("GET", "/streams/events")
            assert (await wire.answer()).json["id"] == "events"


async def test_c53_a_chunked_body_that_becomes_too_large_is_413(server: Edge) -> None:
    async with server.wire() as wire:
        wire.say(PUBLISH + "Transfer-Encoding: chunked\n\n")
        for _ in range(12):
            wire.say(b"%x\r\n%b\r\n" % (MIB, b"x" * MIB))
            await wire.writer.drain()
        wire.say("0\n\n")
        assert (await wire.answer()).code == "PAYLOAD_TOO_LARGE"
        wire.ask("GET", "/streams/events")
        assert (await wire.answer()).json["id"] == "events"


async def test_c53_a_wrong_token_is_answered_though_a_body_comes(broker: Broker) -> None:
    async with edge(broker, is_open=False) as server, server.wire() as wire:
        wire.ask("POST", "/streams/events/messages", b"x" * (9 * MIB), "Connection: close")
        assert (await wire.answer()).code == "UNAUTHENTICATED"


async def test_c53_more_than_64_mib_of_it_are_not_read(server: Edge) -> None:
    assert (DEFAULT.dropped_bytes, DEFAULT.dropping_s) == (64 * MIB, 5)
    async with server.wire() as wire:
        wire.say(f"POST /v1/streams HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: {1 << 40}\n\n")
        assert (await wire.answer()).status == 413
        with pytest.raises(ConnectionError):
            for _ in range(100):
                wire.say(b"x" * MIB)
                await wire.writer.drain()


async def test_c53_nor_more_than_five_seconds(broker: Broker) -> None:
    async with edge(broker, Limits(dropping_s=0.2)) as server, server.wire() as wire:
        wire.say("POST /v1/streams HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 100000000\n\n")
        assert (await wire.answer()).status == 413
        reading = asyncio.create_task(wire.is_closed())
        while not reading.done():
            wire.say(b"x")
            await asyncio.sleep(0.02)
        assert await reading


async def test_c53_a_client_that_asks_first_is_not_asked_for_a_body_that_is_refused(server: Edge) -> None:
    head = PUBLISH + "Expect: 100-continue\n"
    async with server.wire() as wire:
        wire.say(head + f"Content-Length: {9 * MIB}\n\n")
        assert (await wire.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in await wire.reader.readuntil(b"\r\n\r\n")
    async with server.wire() as wire:
        wire.say(head + f"Content-Length: {len(EVENTS)}\n\n")
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.say(EVENTS)
        assert (await wire.answer()).json["info"] == {"created": 1}


async def test_c53_urllib_which_closes_reads_413(server: Edge) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/streams/events/messages",
        b"x" * (9 * MIB),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refusal:
        await asyncio.to_thread(urllib.request.urlopen, request)
    with refusal.value as answer:
        assert (answer.code, json.load(answer)["code"]) == (413, "PAYLOAD_TOO_LARGE")
