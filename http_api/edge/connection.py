"""One connection: it answers its requests one by one and holds little memory, no matter what its client does (C52, C53).

A request is parsed when the one before it is answered; until then what comes is held as it came, and past a bound no
more is read. The phase of the timer says what the connection waits for.
"""

import asyncio
import logging
from collections import deque
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from broker.errors import BrokerError
from http_api.edge.exchange import Exchange
from http_api.edge.held import FREE, Held
from http_api.edge.limits import DEFAULT, Limits
from http_api.edge.requests import Head, Requests
from http_api.edge.scope import Scope, address_of, problem_of, scope_of
from http_api.edge.stream import Stream
from http_api.edge.timer import Phase
from http_api.refusals import RequestTimeout

logger = logging.getLogger("broker")


class Connection(Stream):
    """A connection of uvicorn's server."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None, *, limits: Limits = DEFAULT, held: Held | None = None,
    ) -> None:  # fmt: skip
        if not config.loaded:
            config.load()
        super().__init__(_loop or asyncio.get_running_loop(), limits)
        self._app, self._server = config.loaded_app, server_state
        self._all_held = held or Held(limits.held_bytes)
        self._requests = Requests(self, limits)
        self._current: Exchange | None = None  # is being answered
        self._incoming: Exchange | None = None  # its body is coming; it may be answered already
        self._queue: deque[tuple[Exchange, Scope] | bytes] = deque()  # requests, and refusals, after it
        self._ahead = b""  # what came after it, not parsed
        self._dropped = 0  # bytes
        self.stopping = False  # the server stops
        self._deaf = self._lingers = False  # nothing more is parsed; all is answered, and what still comes is dropped

    # What the event loop and the server call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast(asyncio.Transport, transport)  # a stream's
        self._server.connections.add(self)  # type: ignore[arg-type] # it asks for `shutdown` alone
        self._here, self._there = (address_of(transport.get_extra_info(name)) for name in ("sockname", "peername"))
        self._timer.set(Phase.IDLE, self._limits.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._server.connections.discard(self)
        self._deaf, self._ahead = True, b""
        self._timer.close()
        self._requests.close()
        self._all_held.note(self, 0)
        for exchange in (self._current, self._incoming):
            if exchange is not None:
                exchange.lose()
        self._current = self._incoming = None
        self._queue.clear()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._deaf:
            self._drop(len(data))
        elif self._ahead or self._is_answering or self._writing_paused:
            self._ahead += data
            self._settle()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """The client sends no more. What it has sent is answered. False: there is nothing to answer."""
        self._ended = True
        self._give_up_what_is_not_whole()
        if self._current is not None:
            self._current.wake()
        return self._current is not None or bool(self._queue) or bool(self._ahead)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self.transport.is_closing():
            return
        if self._lingers or (self._incoming is not None and self._incoming.answered):
            self._timer.set(Phase.DROPPING, self._limits.dropping_s)
        elif self._current is None:
            self._go_on()
        else:
            self._timer.rest()
        self._settle()

    def shutdown(self) -> None:
        """The server stops: end when what is being answered is answered."""
        self.stopping = True
        if self._current is None and not self._queue:
            self._deaf = True
            self._close()

    def cut(self) -> None:
        """End at once, even in the middle of an answer."""
        self._deaf = True
        if self._current is not None:
            self._current.lose()
        self.transport.abort()

    # What the parser calls.

    def begin(self, head: Head) -> None:
        """A request."""
        if self._deaf:
            return
        exchange = self._incoming = Exchange(
            self,
            head_only=head.method == "HEAD",
            keep_alive=head.keep_alive,
            expects_continue=head.expects_continue,
            headers=head.headers,
            cost=head.cost,
        )
        scope = scope_of(head, exchange, self._here, self._there)
        if self._current is None and not self._queue:
            self._start(exchange, scope)
        else:
            self._queue.append((exchange, scope))

    def body(self, part: bytes) -> None:
        """A part of its body."""
        if self._incoming is None:
            return
        if self._incoming.answered:
            self._drop(len(part))
        else:
            self._incoming.add(part)

    def end(self) -> None:
        """It is whole."""
        exchange, self._incoming = self._incoming, None
        if exchange is not None:
            exchange.end()
            self._deaf = not exchange.keep_alive
            if exchange.answered:
                self._dropped = 0
                self._go_on()

    # What an exchange calls.

    @property
    def left(self) -> bool:
        """The client cannot be waited for: it sends no more, or so much ahead that its leaving would not be noticed."""
        return self._ended or self._reading_paused

    def expect_body(self) -> None:
        """The application waits for the body of the current request."""
        self._settle()

    def answered(self, exchange: Exchange) -> None:
        """The answer to the current request is whole."""
        self._current = None
        if exchange.cost > FREE:
            self._note()
        if not exchange.keep_alive:
            self._finish()
        elif exchange is self._incoming:
            self._timer.set(Phase.DROPPING, self._limits.dropping_s)
            self._settle()
        else:
            self._go_on()

    # Requests, one after the other.

    @property
    def _is_answering(self) -> bool:
        """A request that is whole has yet to be answered."""
        return self._current is not None and self._current is not self._incoming

    def _start(self, exchange: Exchange, scope: Scope) -> None:
        self._current = exchange
        self._timer.rest()
        if exchange.cost > FREE:
            self._note()
        task = self.loop.create_task(self._answer(exchange, scope))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _answer(self, exchange: Exchange, scope: Scope) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except BaseException as exc:
            logger.error("fault in an answer", exc_info=exc)
        if not exchange.answered and not exchange.gone:
            self.cut()

    def _parse(self, data: bytes) -> None:
        try:
            while data and not self._is_answering and not self._writing_paused and not self._deaf:
                data = self._requests.feed(data)
        except BrokerError as refusal:
            self._refuse(refusal)
            return
        if self._deaf:
            self._drop(len(data))
        elif data or self._incoming is not None or self._requests.in_head:
            self._ahead = data
            self._settle()

    def _go_on(self) -> None:
        """The next request, where there is one."""
        if self._writing_paused or self.transport.is_closing():
            return
        if self._ended and self.is_reset():
            self.cut()
        elif self._queue:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                self.write(item)
                self._finish(linger=True)
                return
            self._start(*item)
            if self._ahead and not self._is_answering:
                self._parse_ahead()
        elif self._deaf:
            self._finish()
        elif self._ahead:
            self._parse_ahead()
        elif self._ended or self.stopping:
            self._close()
        elif self._requests.in_head:
            self._timer.set(Phase.HEAD, self._limits.head_s)
        else:
            self._timer.set(Phase.IDLE, self._limits.idle_s)

    def _parse_ahead(self) -> None:
        data, self._ahead = self._ahead, b""
        self._parse(data)
        self._settle()
        if self._ended and not self._ahead:
            self._give_up_what_is_not_whole()
            if self._current is None and not self._queue:
                self._close()

    def _give_up_what_is_not_whole(self) -> None:
        """The client has sent a part of a request, and sends no more."""
        exchange, self._incoming = self._incoming, None
        if exchange is None:
            return
        self._deaf = True
        exchange.lose()
        if exchange is self._current:
            self._current = None
        elif not exchange.answered:
            self._queue.pop()

    # Refusals, and the end.

    def _refuse(self, refusal: BrokerError) -> None:
        """Answer what cannot be parsed or did not come in time, after what came before it, and close."""
        exchange, self._incoming = self._incoming, None
        self._deaf = True
        if exchange is None:
            self._queue.append(problem_of(refusal))
        elif exchange.answered:
            self._queue.append(b"")
        elif exchange.started:
            self.cut()
        else:
            exchange.lose()
            if exchange is self._current:
                self._current = None
            else:
                self._queue.pop()
            self._queue.append(problem_of(refusal))
        if self._current is None:
            self._go_on()

    def _finish(self, *, linger: bool = False) -> None:
        """The last answer is written: close; but a client that is still sending may first read it."""
        linger = linger or self._incoming is not None or bool(self._ahead) or self._dropped > 0
        self._deaf, self._ahead, self._incoming = True, b"", None
        self._queue.clear()
        if not linger or self._ended or self.stopping:
            self._close()
            return
        self._lingers = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer.set(Phase.DROPPING, self._limits.dropping_s)
        self._settle()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > self._limits.dropped_bytes:
            self.cut()

    # How long, and how much.

    def _expired(self) -> None:
        if self._timer.phase is Phase.HEAD:
            self._refuse(RequestTimeout(f"The headers did not come within {self._limits.head_s:g} s."))
        elif self._timer.phase is Phase.BODY:
            if self._current is not None and self._current.is_awaited:
                self._current.fail(RequestTimeout(f"No part of the body came for {self._limits.body_s:g} s."))
        elif self._timer.phase is Phase.READER and self._has_read():
            self._await_reader()
        elif self._timer.phase is Phase.READER or self.transport.is_closing():
            self.cut()
        else:
            self._close()

    def _settle(self) -> None:
        """Where a request is not whole, or others came ahead: whether to read on, how long to wait, what is held."""
        if self.transport.is_closing():
            return
        incoming = self._incoming
        held = len(self._ahead) + (incoming.held if incoming is not None else 0)
        if self._pause_reading(held > self._limits.ahead_bytes) and self._current is not None:
            self._current.wake()
        if not self._writing_paused:
            if incoming is not None and incoming is self._current:
                if incoming.is_awaited:
                    self._timer.set(Phase.BODY, self._limits.body_s)
                else:
                    self._timer.rest()
            elif self._requests.in_head and self._current is None and self._timer.phase is not Phase.HEAD:
                self._timer.set(Phase.HEAD, self._limits.head_s)
        self._note(held)

    def _note(self, held: int = 0) -> None:
        cost = self._requests.cost if self._current is None else self._current.cost
        self._all_held.note(self, held + self._unsent + cost)
