"""How an answer is written: in one piece where it can be, and in turn where the client does not read."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from broker import Broker, Store
from broker.access.tokens import AccessTokens
from http_api.app import create_app
from http_api.edge.connection import Connection
from http_api.settings import Settings

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """A connection's other end: what was written, a piece a system call."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing comes but what a test sends."""

    def resume_reading(self) -> None:
        """Likewise."""


@pytest.fixture
async def connection() -> AsyncIterator[tuple[Connection, Wire]]:
    store = Store.from_url("redis://localhost:1")
    app = create_app(Broker(store), AccessTokens(store), Settings())
    config = uvicorn.Config(app, log_config=None)
    state = ServerState()
    protocol, wire = Connection(config, state, {}), Wire()
    protocol.connection_made(wire)
    yield protocol, wire
    if state.connections:
        protocol.connection_lost(None)


def request(method: str = "GET", *headers: str) -> bytes:
    lines = (f"{method} /health/live HTTP/1.1", "host: here", "x-request-id: mine", *headers, "", "")
    return "\r\n".join(lines).encode()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_answer_is_one_piece(connection: tuple[Connection, Wire]) -> None:
    protocol, wire = connection
    for count in (1, 2):
        protocol.data_received(request())
        await settle()
        assert len(wire.pieces) == count
    head, _, body = wire.pieces[0].partition(b"\r\n\r\n")
    assert body == b'{"status":"ok"}\n'
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"content-length: 16",
        b"content-type: application/json",
        b"vary: Accept",
        b"x-request-id: mine",
    ]
    assert wire.pieces[1] == wire.pieces[0]
    assert not wire.closed


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_a_request_that_is_over_is_freed_without_the_garbage_collector(connection: tuple[Connection, Wire], method: str) -> None:
    protocol, _ = connection
    gc.disable()
    try:
        protocol.data_received(request(method))
        over = weakref.ref(protocol._current)
        assert over() is not None
        await settle()
        assert over() is None
    finally:
        gc.enable()


async def test_requests_that_come_at_once_are_answered_in_order(connection: tuple[Connection, Wire]) -> None:
    protocol, wire = connection
    protocol.data_received(request() + request("PUT") + request())
    await settle()
    assert [piece.split(b" ", 2)[1] for piece in wire.pieces] == [b"200", b"405", b"200"]


async def test_a_client_that_wants_the_connection_closed(connection: tuple[Connection, Wire]) -> None:
    protocol, wire = connection
    protocol.data_received(request("GET", "connection: close"))
    await settle()
    head, _, body = b"".join(wire.pieces).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[-2:] == [b"x-request-id: mine", b"connection: close"]
    assert (body, wire.closed) == (b'{"status":"ok"}\n', True)


async def test_a_client_that_asks_for_the_head_alone(connection: tuple[Connection, Wire]) -> None:
    protocol, wire = connection
    protocol.data_received(request("HEAD"))
    await settle()
    head, _, body = b"".join(wire.pieces).partition(b"\r\n\r\n")
    assert (b"content-length: 16" in head, body) == (True, b"")


async def test_a_client_that_does_not_read_is_waited_for(connection: tuple[Connection, Wire]) -> None:
    protocol, wire = connection
    protocol.pause_writing()
    protocol.data_received(request())
    await settle()
    assert wire.pieces == []
    protocol.resume_writing()
    await settle()
    assert b"".join(wire.pieces).endswith(b'{"status":"ok"}\n')


async def test_a_client_that_has_gone_is_told_nothing(connection: tuple[Connection, Wire]) -> None:
    protocol, wire = connection
    protocol.data_received(request())
    protocol.connection_lost(ConnectionResetError())
    await settle()
    assert wire.pieces == []
