"""Redis connection shared by many calls: sends commands at once, matches replies in order."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import hiredis
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from broker.errors import StoreUnavailable

# How long making a connection may take.
CONNECT_S = 5.0

Argument = str | bytes | int | float
Server = str  # host:port, or the path of a socket


class Node(Protocol):
    """A server to which connections can be made."""

    def connection(self) -> AbstractConnection:
        """A connection that is not open yet."""


class NotSent(Exception):
    """The connection was lost before the command was sent. Nothing happened."""


class Link(asyncio.Protocol):
    """An open connection, and the calls that await replies on it, in order.

    redis-py opens the connection. Then this protocol takes over its socket and parses replies as they arrive.
    """

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        self.connection = connection
        self.server = server_of(connection)
        self.timeout = timeout
        self.awaiting: deque[asyncio.Future[Any] | None] = deque()
        self.silent_s = 0.0  # how long calls have waited without any data, as liveness.py counts it
        self.refusal: Exception | None = None
        self.closed = False
        self.retired = False
        self.loop = asyncio.get_running_loop()
        self.replies = hiredis.Reader(replyError=connection._parser.parse_error)
        self.transport: asyncio.WriteTransport = connection._writer.transport  # type: ignore[union-attr]
        self.transport.set_protocol(self)

    def call(self, *commands: Sequence[Argument]) -> asyncio.Future[Any]:
        """Send a command, or a transaction from MULTI to EXEC, in one write. Returns the last command's reply.

        NotSent: the connection is lost, and Redis cannot have received the whole last command.
        """
        packed = b"".join(map(hiredis.pack_command, commands))  # type: ignore[arg-type]
        if not self.transport.is_closing():
            self.transport.write(packed)
        if self.transport.is_closing():  # it was closing already, or the write failed at once
            self.fail(RedisConnectionError("closed"))
            raise NotSent
        future: asyncio.Future[Any] = self.loop.create_future()
        self.awaiting.extend(None for _ in commands[1:])
        self.awaiting.append(future)
        return future

    def data_received(self, data: bytes) -> None:
        """Parse replies and pass each to its call."""
        self.silent_s = 0.0
        self.replies.feed(data)
        try:
            while (reply := self.replies.gets()) is not False:
                self.answer(reply)
        except (hiredis.HiredisError, IndexError) as exc:
            self.fail(exc)

    def answer(self, reply: Any) -> None:
        """Pass a reply to the call that has waited longest."""
        future = self.awaiting.popleft()
        if future is None:  # a command before EXEC: if it was refused, this reply says why
            if isinstance(reply, Exception):
                self.refusal = self.refusal or reply
            return
        if isinstance(reply, Exception):
            reply = self.refusal or reply
        self.refusal = None
        if not future.done():
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
        if self.retired and not self.awaiting:
            self.fail(RedisConnectionError("closed"))

    def retire(self) -> None:
        """Refuse new calls, and close when all calls have their replies."""
        self.retired = True
        if not self.awaiting:
            self.fail(RedisConnectionError("closed"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all calls. They may have taken effect."""
        self.fail(exc or RedisConnectionError("closed by Redis"))

    def fail(self, cause: Exception) -> None:
        """Abandon the connection and every call on it."""
        self.closed = True
        while self.awaiting:
            future = self.awaiting.popleft()
            if future is not None and not future.done():
                future.set_exception(RedisConnectionError(str(cause)))
        self.transport.abort()

    async def close(self) -> None:
        """Abandon the connection and close the socket."""
        self.fail(RedisConnectionError("closed"))
        await self.connection.disconnect(nowait=True)


def server_of(connection: AbstractConnection) -> Server:
    """The server of a connection. A server that sentinels name is known once the connection is open."""
    if isinstance(connection, UnixDomainSocketConnection):
        return str(connection.path)
    return f"{connection.host}:{connection.port}"  # type: ignore[attr-defined]


async def connect(node: Node, timeout: float) -> Link:
    """Open a connection. StoreUnavailable: the server was not reached within `timeout`, or within 5 seconds."""
    connection = node.connection()
    try:
        async with asyncio.timeout(min(timeout, CONNECT_S)):
            await connection.connect()  # type: ignore[no-untyped-call]
    except (RedisError, OSError, TimeoutError) as exc:
        await connection.disconnect(nowait=True)
        raise StoreUnavailable("Redis cannot be reached; nothing happened.") from exc
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return Link(connection, timeout)
