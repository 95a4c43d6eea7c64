"""One request and its answer, as the application sees them: the ASGI calls `receive` and `send`."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol

from http_api.edge.requests import Headers

STATUS_LINE = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
_APART = 1 << 16  # a larger body is not copied into one buffer with its head


class Line(Protocol):
    """What an exchange asks of its connection."""

    loop: asyncio.AbstractEventLoop
    stopping: bool

    @property
    def left(self) -> bool: ...  # noqa: D102

    def write(self, *parts: bytes) -> None: ...  # noqa: D102
    async def drained(self) -> None: ...  # noqa: D102
    def is_reset(self) -> bool: ...  # noqa: D102
    def expect_body(self) -> None: ...  # noqa: D102
    def answered(self, exchange: "Exchange") -> None: ...  # noqa: D102


class Exchange:
    """Its life: the body comes, is asked for, and is whole; the answer is begun and is whole; or the client is gone."""

    __slots__ = (
        "__weakref__", "_asked", "_begun", "_continue", "_fault", "_head_only", "_headers", "_knows_end", "_line", "_parts",
        "_waiter", "answered", "cost", "gone", "held", "keep_alive", "started", "whole",
    )  # fmt: skip

    def __init__(self, line: Line, *, head_only: bool, keep_alive: bool, expects_continue: bool, headers: Headers, cost: int) -> None:
        self._line = line
        self._head_only, self._continue = head_only, expects_continue
        self.keep_alive, self.cost, self._headers = keep_alive, cost, headers
        self._parts: list[bytes] = []
        self.held = 0  # bytes
        self.whole = self._knows_end = False
        self.started = self.answered = self.gone = False
        self._begun: bytes | None = None
        self._asked = False
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    # What the connection says.

    def add(self, part: bytes) -> None:
        """A part of the body has come."""
        self._parts.append(part)
        self.held += len(part)
        self.wake()

    def end(self) -> None:
        """The body is whole."""
        self.whole = True
        self.wake()

    def fail(self, fault: Exception) -> None:
        """The body will not come; the connection closes with the answer."""
        self._fault, self.keep_alive = fault, False
        self.wake()

    def lose(self) -> None:
        """The client is gone."""
        self.gone = True
        self._headers.clear()  # whoever is at work for it may yet be for a while
        self.wake()

    def wake(self) -> None:
        """Something has changed for who waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_awaited(self) -> bool:
        """The application waits for the body."""
        return self._waiter is not None and not self._waiter.done() and not self.whole

    # What the application calls.

    async def receive(self) -> dict[str, Any]:
        """The next part of the body; then, when the client has gone or has said that it sends no more, a disconnect."""
        if self._continue:
            self._continue = False
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            if self.gone or self.answered or (self._knows_end and self._line.left):
                return {"type": "http.disconnect"}
            if self._fault is not None:
                fault, self._fault = self._fault, None
                try:
                    raise fault
                finally:
                    del fault  # else it would hold this frame, which holds it
            if self._parts or (self.whole and not self._knows_end):
                parts, self._parts, self.held, self._knows_end = self._parts, [], 0, self.whole
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                return {"type": "http.request", "body": body, "more_body": not self.whole}
            self._waiter = self._line.loop.create_future()
            try:
                if not self.whole:
                    self._line.expect_body()
                await self._waiter
            finally:
                self._waiter = None

    def send_whole(self, message: Mapping[str, Any]) -> None:
        """Send an answer, head and body, by one system call."""
        if self.gone:
            return
        head, body = self._head(message), b"" if self._head_only else message["body"]
        self.started = True
        self._finish(head, body)

    def still_there(self) -> bool:
        """Whether a client that sends no more still reads: one that has left refuses what it is sent."""
        if not self.gone and not self._asked:
            self._asked = True
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return not self.gone and not self._line.is_reset()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a part of an answer. Its length must be among the headers."""
        await self._line.drained()
        if self.gone:
            return
        if message["type"] == "http.response.start":
            self._begun, self.started = self._head(message), True
            return
        head, self._begun = self._begun or b"", None
        body = b"" if self._head_only else message.get("body", b"")
        if message.get("more_body", False):
            self._line.write(head, body)
        else:
            self._finish(head, body)

    def _head(self, message: Mapping[str, Any]) -> bytes:
        if self._continue:
            self.keep_alive = False  # nobody knows whether the client sends the body that it was not asked for
        parts = [STATUS_LINE[message["status"]]]
        for name, value in message["headers"]:
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive or self._line.stopping:
            self.keep_alive = False
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    def _finish(self, head: bytes, body: bytes) -> None:
        self.answered = True
        self._parts.clear()
        self.held = 0
        self._line.write(head, body) if len(body) > _APART else self._line.write(head + body)
        self.wake()
        self._line.answered(self)
