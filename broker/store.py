"""The way to Redis: one connection that many calls share, and what its failures mean.

Commands go out as they come and replies are matched in order, so concurrent calls are pipelined without waiting for
each other. Nothing is sent twice: a call whose connection was never made says that nothing happened, one whose
connection broke after it was sent says that it may have happened.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.errors import SCRIPT_ERRORS, BrokerError, OutcomeUnknown, StoreFault, StoreFull, StoreUnavailable
from broker.scripts import Script

logger = logging.getLogger("broker")

# How long making a connection may take.
CONNECT_S = 5.0

Argument = str | bytes | int | float

# Replies by which Redis refuses a command before it does anything.
_REFUSALS = (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    TryAgainError,
)
_REFUSAL_WORDS = {"BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "READONLY", "CLUSTERDOWN"}


def from_reply(error: RedisError) -> BrokerError:
    """What an error reply of Redis means to a caller."""
    word = str(error).partition(" ")[0]
    if isinstance(error, OutOfMemoryError) or word == "OOM":
        return StoreFull("Redis is at its memory limit; nothing was stored.")
    if isinstance(error, _REFUSALS) or word in _REFUSAL_WORDS:
        logger.warning("Redis refuses commands: %s", error)
        return StoreUnavailable("Redis does not take commands at the moment; nothing happened.")
    if word == "NOGROUP":
        word = "CONSUMER_NOT_FOUND"
    if word in SCRIPT_ERRORS:
        kind, summary = SCRIPT_ERRORS[word]
        return kind(summary)
    logger.error("Redis gave an unexpected error: %s", error)
    return StoreFault("Redis gave an answer that the broker does not understand.")


class _NotSent(Exception):
    """The connection was gone before the command was out: nothing happened."""


class _Link(asyncio.Protocol):
    """An open connection and the calls that await their replies on it, in order.

    redis-py makes the connection; then its socket speaks to this protocol, which parses what comes as it comes.
    """

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        self.connection = connection
        self.timeout = timeout
        self.awaiting: deque[tuple[asyncio.Future[Any] | None, float]] = deque()
        self.refusal: Exception | None = None
        self.closed = False
        self.loop = asyncio.get_running_loop()
        self.replies = hiredis.Reader(replyError=connection._parser.parse_error)
        self.transport: asyncio.WriteTransport = connection._writer.transport  # type: ignore[union-attr]
        self.transport.set_protocol(self)
        self.watch = self.loop.call_later(timeout / 4, self._watch)

    def call(self, *commands: Sequence[Argument]) -> asyncio.Future[Any]:
        """Send a command, or a transaction from MULTI to EXEC in one write; gives the last one's reply.

        _NotSent: the connection is gone; then Redis cannot have the whole last command.
        """
        packed = b"".join(map(hiredis.pack_command, commands))  # type: ignore[arg-type]
        if not self.transport.is_closing():
            self.transport.write(packed)
        if self.transport.is_closing():  # it was, or the write failed at once
            self.fail(RedisConnectionError("closed"))
            raise _NotSent
        future: asyncio.Future[Any] = self.loop.create_future()
        now = self.loop.time()
        self.awaiting.extend((None, now) for _ in commands[1:])
        self.awaiting.append((future, now))
        return future

    def data_received(self, data: bytes) -> None:
        """Give each reply to the call that it is for."""
        self.replies.feed(data)
        try:
            while (reply := self.replies.gets()) is not False:
                self.answer(reply)
        except (hiredis.HiredisError, IndexError) as exc:
            self.fail(exc)

    def answer(self, reply: Any) -> None:
        """Give a reply to the call that has waited longest."""
        future, _ = self.awaiting.popleft()
        if future is None:  # on the way to EXEC: where a command was refused, this tells why
            if isinstance(reply, Exception):
                self.refusal = self.refusal or reply
            return
        if isinstance(reply, ExecAbortError):
            reply = self.refusal or reply
        self.refusal = None
        if future.done():
            return
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Calls that were sent may have taken effect."""
        self.fail(exc or RedisConnectionError("closed by Redis"))

    def _watch(self) -> None:
        if self.awaiting and self.loop.time() - self.awaiting[0][1] > self.timeout:
            self.fail(RedisTimeoutError(f"no reply within {self.timeout} s"))
        elif not self.closed:
            self.watch = self.loop.call_later(self.timeout / 4, self._watch)

    def fail(self, cause: Exception) -> None:
        """Give up the connection and every call on it."""
        self.closed = True
        self.watch.cancel()
        while self.awaiting:
            future, _ = self.awaiting.popleft()
            if future is not None and not future.done():
                future.set_exception(RedisConnectionError(str(cause)))
        self.transport.abort()

    async def close(self) -> None:
        self.fail(RedisConnectionError("closed"))
        await self.connection.disconnect(nowait=True)


class Store:
    """One Redis. `timeout` in seconds bounds connecting and each reply."""

    def __init__(self, pool: ConnectionPool, *, timeout: float = 5.0) -> None:
        self._pool = pool
        self._timeout = timeout
        self._link: _Link | None = None
        self._opening = asyncio.Lock()

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0) -> "Store":
        """A store at `redis://`, `rediss://` or `unix://`. ValueError: not such a URL."""
        options: dict[str, Any] = {"protocol": 2, "socket_timeout": None}
        if not url.startswith("unix://"):
            options |= {"socket_connect_timeout": timeout, "socket_keepalive": True}
        try:
            pool = ConnectionPool.from_url(url, **options)
            pool.make_connection()  # type: ignore[no-untyped-call]
        except TypeError as exc:
            raise ValueError(f"an option of the URL is unknown: {exc}") from exc
        return cls(pool, timeout=timeout)

    async def call(self, *args: Argument) -> Any:
        """Send one command and give its reply, with strings as bytes.

        Raises StoreUnavailable (nothing happened), OutcomeUnknown (it may have happened), StoreFull, or what
        `from_reply` makes of the reply.
        """
        return await self._reply(args)

    async def _reply(self, *commands: Sequence[Argument]) -> Any:
        try:
            return await self._send(*commands)
        except NoScriptError:
            raise
        except (*_REFUSALS, ResponseError) as exc:
            raise from_reply(exc) from exc

    async def run(self, script: Script, key: str, args: Iterable[Argument]) -> Any:
        """Run a script over one stream's keys, loading it where Redis does not know it yet."""
        args = tuple(args)
        try:
            return await self.call("EVALSHA", script.sha, 1, key, *args)
        except NoScriptError:
            await self.call("SCRIPT", "LOAD", script.text)
            return await self.call("EVALSHA", script.sha, 1, key, *args)

    async def run_then(
        self, script: Script, key: str, args: Iterable[Argument], then: Sequence[Sequence[Argument]]
    ) -> tuple[Any, list[Any]]:
        """Run a script, and commands behind it in the same transaction; gives its reply and theirs, error replies among these.

        Where Redis does not know the script yet, the commands behind it run nevertheless, and all is done again with it:
        they must do nothing that the script has not made possible.
        """
        transaction = (("MULTI",), ("EVALSHA", script.sha, 1, key, *args), *then, ("EXEC",))
        replies = await self._reply(*transaction)
        if isinstance(replies[0], NoScriptError):
            await self.call("SCRIPT", "LOAD", script.text)
            replies = await self._reply(*transaction)
        if isinstance(replies[0], RedisError):
            raise from_reply(replies[0]) from replies[0]
        return replies[0], replies[1:]

    async def _send(self, *commands: Sequence[Argument]) -> Any:
        link = self._link
        if link is None or link.closed:
            link = await self._open()
        try:
            try:
                return await link.call(*commands)
            except _NotSent:
                return await (await self._open()).call(*commands)
        except _NotSent as exc:
            raise StoreUnavailable("The connection to Redis is lost; nothing happened.") from exc
        except _REFUSALS:
            raise
        except RedisConnectionError as exc:
            logger.warning("Redis connection lost: %s", exc)
            raise OutcomeUnknown("The connection to Redis was lost before it answered; the call may have taken effect.") from exc

    async def _open(self) -> _Link:
        async with self._opening:
            if self._link is None or self._link.closed:
                if self._link is not None:
                    await self._link.close()
                self._link = _Link(await self._connect(), self._timeout)
            return self._link

    def apart(self, timeout: float) -> "Store":
        """The same Redis by a connection of its own, for reads that block."""
        return Store(self._pool, timeout=timeout)

    async def _connect(self) -> AbstractConnection:
        connection = cast(AbstractConnection, self._pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(min(self._timeout, CONNECT_S)):
                await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as exc:
            logger.warning("Redis cannot be reached: %s", exc)
            raise StoreUnavailable("Redis cannot be reached; nothing happened.") from exc
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def close(self) -> None:
        """Close the connection; calls that await a reply fail."""
        if self._link is not None:
            await self._link.close()
            self._link = None
