"""Redis client: sends commands, maps replies and lost connections to broker errors.

Commands are sent at once and replies are matched in order, so concurrent calls are pipelined. A command that may have
taken effect is never sent twice: if the connection broke after sending, the call fails with OutcomeUnknown; if there
was no connection, with StoreUnavailable. A command that a server refused without effect is sent again if another server
may accept it: after a redirection, and during a failover.
"""

import asyncio
import contextlib
import logging
from collections.abc import Hashable, Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from broker.errors import OutcomeUnknown, StoreUnavailable
from broker.store import urls
from broker.store.connection import Argument, Link, Node, NotSent, connect
from broker.store.error_replies import PASSING, REFUSALS, from_reply
from broker.store.liveness import Liveness
from broker.store.outage import Outage
from broker.store.topology import Topology

logger = logging.getLogger("broker")

# The pause between two tries of a refused call.
PAUSE_S = 0.05
REDIRECTIONS = 16
# The time between two log lines about the same outage.
WARN_S = 1.0


class NoTransactions(Exception):
    """The Redis user has no right to MULTI. Nothing happened."""


class Store:
    """A client of one Redis of any kind. `timeout`: seconds to connect, and to wait for each reply."""

    def __init__(self, servers: Topology, *, timeout: float = 5.0) -> None:
        self._servers = servers
        self._liveness = Liveness(servers, timeout)
        self._timeout = timeout
        self._links: dict[Node, Link] = {}
        self._retired: list[Link] = []
        self._opening: dict[Node, asyncio.Task[Link]] = {}
        self._transactions: bool | None = None
        self._separate = False
        self._closed = False
        self._warned = -WARN_S
        self._outage = Outage()

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 5.0) -> "Store":
        """A store at a URL of one of `urls.SCHEMES`. ValueError: another URL."""
        return cls(urls.from_url(url, timeout), timeout=timeout)

    @property
    def connected(self) -> bool:
        """Whether any connection is open. Connections open at the first call that needs them."""
        return any(not link.transport.is_closing() for link in self._links.values())

    async def call(self, *args: Argument, at: str | None = None) -> Any:
        """Send one command and return its reply, with strings as bytes. `at`: send to the server that holds this key.

        Raises StoreUnavailable (nothing happened), OutcomeUnknown (it may have happened), StoreFull, or the error that
        `from_reply` makes of an error reply.
        """
        return await self._reply(args, at=at)

    async def _reply(self, *commands: Sequence[Argument], at: str | None = None) -> Any:
        try:
            return await self._send_until_taken(commands, at)
        except NoScriptError:
            raise
        except (*REFUSALS, ResponseError) as exc:
            raise from_reply(exc) from exc

    async def transaction(self, at: str, *commands: Sequence[Argument]) -> list[Any]:
        """Run commands as one transaction on the server that holds a key. Returns replies, error replies included.

        Raises NoTransactions, and the errors of `call`.
        """
        if not await self._may_transact(at):
            raise NoTransactions
        replies: list[Any] = await self._reply(("MULTI",), *commands, ("EXEC",), at=at)
        return replies

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """The keys to pass to a command that uses many keys of one slot."""
        return self._servers.slot_keys(key)

    async def _may_transact(self, key: str) -> bool:
        """Whether MULTI is allowed. If MULTI were refused, the commands after it would still run, one by one."""
        if self._transactions is None:
            begun, _ = await self.pipeline(key, ("MULTI",), ("EXEC",))
            if isinstance(begun, RedisError) and not isinstance(begun, NoPermissionError):
                raise from_reply(begun) from begun
            self._transactions = not isinstance(begun, NoPermissionError)
        return self._transactions

    async def pipeline(self, at: str, *commands: Sequence[Argument]) -> list[Any]:
        """Send commands on one connection to the server that holds a key. Returns their replies in order.

        An error reply is an exception in the list. StoreUnavailable, OutcomeUnknown.
        """
        replies = await self._exchange(await self._node((), at), *commands)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            self._retire((), at)
        return replies

    async def primaries(self) -> list[str]:
        """One key on each server that accepts writes, for `call(..., at=key)`."""
        await self._node(("PING",), None)
        return self._servers.primaries()

    async def _send_until_taken(self, commands: Sequence[Sequence[Argument]], at: str | None) -> Any:
        """Send a command or a transaction. Repeat it while it is refused and another server may accept it."""
        until = 0.0
        while True:
            try:
                return await self._redirected(commands, at)
            except (StoreUnavailable, *PASSING) as exc:
                if self._closed or self._separate:
                    raise
                if isinstance(exc, ReadOnlyError):
                    self._retire(commands[0], at)  # on reconnecting, its host name may resolve to another server
                now = asyncio.get_running_loop().time()
                self._warn(exc, now)
                until = until or now + self._servers.patience_s
                if now >= until:
                    raise
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(StoreUnavailable):
                await self._servers.refresh()

    def _warn(self, refusal: Exception, now: float) -> None:
        """Log why calls are refused, once a second."""
        if now >= self._warned + WARN_S:
            self._warned = now
            logger.warning("Redis cannot be reached, or takes no commands: %s", refusal.__cause__ or refusal)

    async def _redirected(self, commands: Sequence[Sequence[Argument]], at: str | None) -> Any:
        for _ in range(REDIRECTIONS):
            node = self._servers.node_of(commands[0], at) or await self._node(commands[0], at)
            try:
                return await self._attempt(node, commands)
            except AskError as exc:  # MovedError is one
                redirection = exc
            if not isinstance(redirection, MovedError):
                if len(commands) > 1:  # ASKING is for one command
                    raise TryAgainError(str(redirection)) from redirection
                _, reply = await self._exchange(self._servers.asked(redirection), ("ASKING",), *commands)
                if not isinstance(reply, AskError):
                    return _or_raise(reply)
                redirection = reply
            if isinstance(redirection, MovedError):
                await self._servers.moved(redirection)
        raise StoreUnavailable("Redis sends the call from server to server; nothing happened.")

    async def _attempt(self, node: Node, commands: Sequence[Sequence[Argument]]) -> Any:
        link = self._links.get(node)
        if link is None or link.closed:
            link = await self._open(node)
        try:
            try:
                return await link.call(*commands)
            except NotSent:
                if self._separate:
                    raise
                return await (await self._open(node)).call(*commands)
        except NotSent as exc:
            raise _not_sent() from exc
        except REFUSALS:
            raise
        except RedisConnectionError as exc:
            raise self._unknown(node, exc) from exc

    async def _exchange(self, node: Node, *commands: Sequence[Argument]) -> list[Any]:
        link = await self._open(node)
        replies: list[asyncio.Future[Any]] = []
        try:
            replies.extend(map(link.call, commands))
        except NotSent as exc:
            for lost in replies:
                lost.exception()  # mark the exception as retrieved: the connection is lost, and nobody else asks for it
            raise _not_sent() from exc
        found = await asyncio.gather(*replies, return_exceptions=True)
        for reply in found:
            if isinstance(reply, RedisConnectionError) and not isinstance(reply, REFUSALS):
                raise self._unknown(node, reply) from reply
        return found

    async def _node(self, args: Sequence[Argument], at: str | None) -> Node:
        node = self._servers.node_of(args, at)
        if node is None:
            await self._servers.refresh()
            node = self._servers.node_of(args, at)
        if node is None:
            raise StoreUnavailable("No server of the Redis Cluster holds this; nothing happened.")
        return node

    async def _open(self, node: Node) -> Link:
        """The link to a server. Callers that find none share one attempt to connect, and its result."""
        link = self._links.get(node)
        if link is not None and not link.closed:
            return link
        opening = self._opening.get(node)
        if opening is None or opening.done():  # that attempt has ended, but its callback has yet to run
            opening = self._opening[node] = asyncio.create_task(self._connect(node))
            opening.add_done_callback(lambda task: self._opened(node, task))
        return await asyncio.shield(opening)

    async def _connect(self, node: Node) -> Link:
        if self._closed:
            raise StoreUnavailable("The connection to Redis was closed; nothing happened.")
        gone = [link for link in self._retired if link.closed]
        self._retired = [link for link in self._retired if not link.closed]
        for link in [*gone, self._links.pop(node, None)]:
            if link is not None:
                await link.close()
        try:
            link = self._links[node] = await connect(node, self._timeout)
        except StoreUnavailable as exc:
            self._outage.lost(node, exc.__cause__)
            raise
        self._liveness.add(link, separate=self._separate)
        self._outage.back(node)
        return link

    def _opened(self, node: Node, task: asyncio.Task[Link]) -> None:
        if self._opening.get(node) is task:
            del self._opening[node]
        if not task.cancelled():
            task.exception()  # mark the exception as retrieved: perhaps nobody waits

    def _retire(self, args: Sequence[Argument], at: str | None) -> None:
        """Drop the link to a server that is no longer the primary. The next call opens a new one."""
        node = self._servers.node_of(args, at)
        if node is not None and node in self._links:
            link = self._links.pop(node)
            link.retire()
            self._retired.append(link)

    def _unknown(self, node: Node, cause: Exception) -> OutcomeUnknown:
        if not self._closed:
            self._outage.lost(node, cause)
        return OutcomeUnknown("The connection to Redis was lost before it answered; the call may have taken effect.")

    def read_group(self, key: str) -> Hashable:
        """The group of keys that one XREAD may read together with this one. None: all keys."""
        return self._servers.read_group(key)

    def separate(self, blocks_s: float) -> "Store":
        """A store on the same Redis with its own connections, for calls that block for up to `blocks_s` seconds.

        A call whose connection is lost is not sent again.
        """
        store = Store(self._servers, timeout=self._timeout + blocks_s)
        store._separate, store._liveness, store._outage = True, self._liveness, self._outage
        return store

    async def close(self) -> None:
        """Close the connections; calls that await a reply fail."""
        self._closed = True
        for opening in list(self._opening.values()):
            opening.cancel()
            await asyncio.wait([opening])
        links, self._links, self._retired = [*self._links.values(), *self._retired], {}, []
        for link in links:
            await link.close()
        if not self._separate:
            await self._liveness.close()
            await self._servers.close()


def _or_raise(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def _not_sent() -> StoreUnavailable:
    return StoreUnavailable("The connection to Redis is lost; nothing happened.")
