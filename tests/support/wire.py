"""Raw sockets: a server whose limits a test sets, and a client that says exactly the bytes that it is given."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from broker import Broker
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.edge.connection import Connection
from http_api.edge.limits import DEFAULT, Limits
from http_api.edge.memory_limit import MemoryLimit
from http_api.settings import Settings
from tests.support.polling import eventually

PATIENCE_S = 10.0
PUBLISH = "POST /v1/streams/events/messages HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"


@dataclass
class Answer:
    """An answer as it was read."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error of the one shape."""
        problem = self.json
        assert {"code", "summary"} <= set(problem) <= {"code", "summary", "validation_errors"}
        assert self.headers["x-request-id"]
        assert self.body.endswith(b"\n")
        return str(problem["code"])


class Wire:
    """One client connection. What does not come within ten seconds does not come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, *parts: str | bytes) -> None:
        """Send bytes; a line end is `\\n` in a string."""
        for part in parts:
            self.writer.write(part.replace("\n", "\r\n").encode() if isinstance(part, str) else part)

    def ask(self, method: str, path: str, body: bytes | None = None, *headers: str) -> None:
        """Send a request, a body of JSON with it."""
        lines = [f"{method} /v1{path} HTTP/1.1", "Host: localhost", *headers]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.say("\n".join((*lines, "", "")), body or b"")

    async def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer, without what comes before it to keep clients waiting."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                status = int(head[0].split(" ")[1])
                if status >= 200:
                    break
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
            length = 0 if head_only else int(headers.get("content-length", "0"))
            return Answer(status, headers, await self.reader.readexactly(length))

    async def is_closed(self) -> bool:
        """Wait for the end; whether nothing else came before it."""
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                return await self.reader.read() == b""
            return True

    def end(self) -> None:
        """Half-close: send no more."""
        self.writer.write_eof()

    def close(self) -> None:
        """Go away."""
        self.writer.close()


def _set_buffers(link: Any, size: int) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        link.setsockopt(socket.SOL_SOCKET, option, size)


@dataclass
class Edge:
    """A server of the test's own, in its event loop."""

    broker: Broker
    tokens: AccessTokens
    state: ServerState
    port: int

    @asynccontextmanager
    async def wire(self, buffer: int | None = None) -> AsyncIterator[Wire]:
        """A connection to it, where so much is on its way each way."""
        link = socket.socket()
        if buffer is not None:
            _set_buffers(link, buffer)
        link.setblocking(False)
        with link:
            await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(sock=link, limit=buffer or 1 << 16)
            try:
                yield Wire(reader, writer)
            finally:
                writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def call(self, method: str, path: str, body: Any = None, *headers: str) -> Answer:
        """One request on a connection of its own."""
        async with self.wire() as wire:
            wire.ask(method, path, None if body is None else json.dumps(body).encode(), *headers)
            return await wire.answer()

    async def all_closed(self) -> None:
        """Return when no connection is left, and nothing is done for one."""
        await eventually(lambda: not self.state.connections and not self.state.tasks)

    async def waiting(self, calls: int) -> None:
        """Return when so many calls wait."""
        await eventually(lambda: self.broker.waiting.count == calls)

    async def token(self, name: str, scope: str = "admin") -> str:
        """Make an access token that the server knows; gives the header."""
        header = f"Authorization: Bearer {await self.tokens.create(name, [scope])}"
        for _ in range(int(PATIENCE_S * 100)):
            if (await self.call("GET", "/streams", None, header)).status != 401:
                return header
            await asyncio.sleep(0.01)
        raise TimeoutError


@asynccontextmanager
async def edge(broker: Broker, limits: Limits = DEFAULT, *, is_open: bool = True, buffer: int | None = None) -> AsyncIterator[Edge]:
    """A server over a broker that is started, with limits of the test's."""
    tokens = AccessTokens(broker.store, open_mode=OpenMode() if is_open else None)
    await tokens.start()
    config = uvicorn.Config(create_app(broker, tokens, Settings()), lifespan="off", ws="none", log_config=None)
    state, held = ServerState(), MemoryLimit(limits.held_bytes)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Connection, config, state, {}, limits=limits, held=held), "127.0.0.1", 0)
    if buffer is not None:  # connections have what their listener has
        _set_buffers(server.sockets[0], buffer)
    try:
        yield Edge(broker, tokens, state, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for connection in tuple(state.connections):
            connection.cut()  # type: ignore[union-attr] # it is ours
        await eventually(lambda: not state.tasks)
        await tokens.close()
