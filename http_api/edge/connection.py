"""uvicorn protocol: answers the requests of a connection one by one, in bounded time and memory (C52, C53).

A request is parsed when the previous one is answered. Until then its bytes are held unparsed, up to a bound; then
reading pauses. The timer's phase says what the connection waits for.
"""

import asyncio
from collections import deque
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from broker.errors import BrokerError
from http_api.edge.exchange import Exchange
from http_api.edge.limits import DEFAULT, Limits
from http_api.edge.memory_limit import FREE, MemoryLimit
from http_api.edge.requests import Head, Requests
from http_api.edge.scope import Scope, address_of, problem_of, scope_of
from http_api.edge.stream import Stream
from http_api.edge.timer import Phase
from http_api.refusals import RequestTimeout


class Connection(Stream):
    """A connection of uvicorn's server."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None, *, limits: Limits = DEFAULT, held: MemoryLimit | None = None,
    ) -> None:  # fmt: skip
        if not config.loaded:
            config.load()
        super().__init__(_loop or asyncio.get_running_loop(), limits)
        self._app, self._server = config.loaded_app, server_state
        self._all_held = held or MemoryLimit(limits.held_bytes)
        self._requests = Requests(self, limits)
        self._current: Exchange | None = None  # being answered
        self._incoming: Exchange | None = None  # its body is arriving; it may be answered already
        self._queue: deque[tuple[Exchange, Scope] | bytes] = deque()  # the following requests and refusals
        self._unparsed = b""  # bytes after those
        self.stopping = False  # the server stops
        self._parsing_ended = False  # further bytes are dropped
        self._lingers = False  # everything is answered, and the client may still read

    # Called by the event loop and the server.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast(asyncio.Transport, transport)  # TCP
        self._server.connections.add(self)  # type: ignore[arg-type] # it only calls `shutdown`
        self._server_address, self._client_address = (address_of(transport.get_extra_info(name)) for name in ("sockname", "peername"))
        self._timer.set(Phase.IDLE, self._limits.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._server.connections.discard(self)
        self._parsing_ended, self._unparsed = True, b""
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
        """Bytes have arrived."""
        if self._parsing_ended:
            self._drop(len(data))
        elif self._unparsed or self._is_answering or self._writing_paused:
            self._unparsed += data
            self._update_limits()
        else:
            self._parse(data)

    def eof_received(self) -> bool:
        """The client has finished sending. Returns whether there is something left to answer."""
        self._ended = True
        self._drop_incomplete()
        if self._current is not None:
            self._current.wake()
        return self._current is not None or bool(self._queue) or bool(self._unparsed)

    def resume_writing(self) -> None:
        """The client has caught up with reading."""
        super().resume_writing()
        if self.transport.is_closing():
            return
        if self._lingers or (self._incoming is not None and self._incoming.answered):
            self._timer.set(Phase.DROPPING, self._limits.dropping_s)
        elif self._current is None:
            self._start_next()
        else:
            self._timer.rest()
        self._update_limits()

    def shutdown(self) -> None:
        """The server stops: close after the current answer."""
        self.stopping = True
        if self._current is None and not self._queue:
            self._parsing_ended = True
            self._close()

    def cut(self) -> None:
        """Close at once, even in the middle of an answer."""
        self._parsing_ended = True
        if self._current is not None:
            self._current.lose()
        self.transport.abort()

    # Called by the parser.

    def begin(self, head: Head) -> None:
        """A request has begun."""
        if self._parsing_ended:
            return
        exchange = self._incoming = Exchange(self, head)
        scope = scope_of(head, exchange, self._server_address, self._client_address)
        if self._current is None and not self._queue:
            self._start(exchange, scope)
        else:
            self._queue.append((exchange, scope))

    def body(self, part: bytes) -> None:
        """A part of its body has arrived."""
        if self._incoming is None:
            return
        if self._incoming.answered:
            self._drop(len(part))
        else:
            self._incoming.add(part)

    def end(self) -> None:
        """The request is complete."""
        exchange, self._incoming = self._incoming, None
        if exchange is not None:
            exchange.end()
            self._parsing_ended = not exchange.keep_alive
            if exchange.answered:
                self._dropped = 0
                self._start_next()

    # Called by an exchange.

    @property
    def left(self) -> bool:
        """Whether a disconnect would go unnoticed: the client has finished sending, or reading is paused."""
        return self._ended or self._reading_paused

    def expect_body(self) -> None:
        """The application waits for the body of the current request."""
        self._update_limits()

    def answered(self, exchange: Exchange) -> None:
        """The current answer is complete."""
        self._current = None
        if exchange.cost > FREE:
            self._note()
        if not exchange.keep_alive:
            self._finish()
        elif exchange is self._incoming:
            self._timer.set(Phase.DROPPING, self._limits.dropping_s)
            self._update_limits()
        else:
            self._start_next()

    # Requests, one after the other.

    @property
    def _is_answering(self) -> bool:
        """Whether a complete request is being answered."""
        return self._current is not None and self._current is not self._incoming

    def _start(self, exchange: Exchange, scope: Scope) -> None:
        self._current = exchange
        self._timer.rest()
        if exchange.cost > FREE:
            self._note()
        task = self.loop.create_task(exchange.serve(self._app, scope))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _parse(self, data: bytes) -> None:
        try:
            while data and not self._is_answering and not self._writing_paused and not self._parsing_ended:
                data = self._requests.feed(data)
        except BrokerError as refusal:
            self._refuse(refusal)
            return
        if self._parsing_ended:
            self._drop(len(data))
        elif data or self._incoming is not None or self._requests.in_head:
            self._unparsed = data
            self._update_limits()

    def _start_next(self) -> None:
        """Start the next request, if there is one."""
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
            if self._unparsed and not self._is_answering:
                self._parse_rest()
        elif self._parsing_ended:
            self._finish()
        elif self._unparsed:
            self._parse_rest()
        elif self._ended or self.stopping:
            self._close()
        elif self._requests.in_head:
            self._timer.set(Phase.HEAD, self._limits.head_s)
        else:
            self._timer.set(Phase.IDLE, self._limits.idle_s)

    def _parse_rest(self) -> None:
        data, self._unparsed = self._unparsed, b""
        self._parse(data)
        self._update_limits()
        if self._ended and not self._unparsed:
            self._drop_incomplete()
            if self._current is None and not self._queue:
                self._close()

    def _drop_incomplete(self) -> None:
        """Drop an incomplete request: the client has finished sending."""
        exchange, self._incoming = self._incoming, None
        if exchange is None:
            return
        self._parsing_ended = True
        self._abandon(exchange)

    def _abandon(self, exchange: Exchange) -> None:
        """Drop the newest request, whose body will not arrive."""
        exchange.lose()
        if exchange is self._current:
            self._current = None
        elif not exchange.answered:
            self._queue.pop()

    # Refusals, and the end.

    def _refuse(self, refusal: BrokerError) -> None:
        """Answer a malformed or late request with an error, after the previous answers, and close."""
        exchange, self._incoming = self._incoming, None
        self._parsing_ended = True
        if exchange is None:
            self._queue.append(problem_of(refusal))
        elif exchange.answered:
            self._queue.append(b"")
        elif exchange.started:
            self.cut()
        else:
            self._abandon(exchange)
            self._queue.append(problem_of(refusal))
        if self._current is None:
            self._start_next()

    def _finish(self, *, linger: bool = False) -> None:
        """Close after the last answer. A client that is still sending gets time to read it."""
        linger = linger or self._incoming is not None or bool(self._unparsed) or self._dropped > 0
        self._parsing_ended, self._unparsed, self._incoming = True, b"", None
        self._queue.clear()
        if not linger or self._ended or self.stopping:
            self._close()
            return
        self._lingers = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer.set(Phase.DROPPING, self._limits.dropping_s)
        self._update_limits()

    # Limits of time and memory.

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

    def _update_limits(self) -> None:
        """Update reading, the timer and the held memory for incomplete and unparsed requests."""
        if self.transport.is_closing():
            return
        incoming = self._incoming
        held = len(self._unparsed) + (incoming.held if incoming is not None else 0)
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
