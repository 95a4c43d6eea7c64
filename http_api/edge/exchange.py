"""One request and its answer: the ASGI calls `receive` and `send`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from http_api.edge.requests import Head

logger = logging.getLogger("broker")

STATUS_LINE = {s.value: b"HTTP/1.1 %d %b\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
_JOIN_LIMIT = 1 << 16  # a larger body is not copied into one buffer with its head


class Line(Protocol):
    """The connection, as an exchange uses it."""

    loop: asyncio.AbstractEventLoop
    stopping: bool

    @property
    def left(self) -> bool: ...  # noqa: D102

    def write(self, *parts: bytes) -> None: ...  # noqa: D102
    async def drained(self) -> None: ...  # noqa: D102
    def is_reset(self) -> bool: ...  # noqa: D102
    def expect_body(self) -> None: ...  # noqa: D102
    def answered(self, exchange: "Exchange") -> None: ...  # noqa: D102
    def cut(self) -> None: ...  # noqa: D102


class Exchange:
    """A request and its answer, each arriving in parts, until the answer is complete or the client is gone."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_begun",
        "_continue",
        "_end_received",
        "_fault",
        "_head_only",
        "_headers",
        "_line",
        "_parts",
        "_waiter",
        "answered",
        "cost",
        "gone",
        "held",
        "keep_alive",
        "started",
        "whole",
    )  # fmt: skip

    def __init__(self, line: Line, head: Head) -> None:
        self._line = line
        self._head_only, self._continue = head.method == "HEAD", head.expects_continue
        self.keep_alive, self.cost, self._headers = head.keep_alive, head.cost, head.headers
        self._parts: list[bytes] = []
        self.held = 0  # bytes
        self.whole = self._end_received = False
        self.started = self.answered = self.gone = False
        self._begun: bytes | None = None
        self._asked = False
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    # Called by the connection.

    async def serve(self, app: Callable[..., Awaitable[None]], scope: dict[str, Any]) -> None:
        """Run the application, and cut the connection if it does not answer."""
        try:
            await app(scope, self.receive, self.send)
        except BaseException as exc:
            logger.error("fault in an answer", exc_info=exc)
        if not self.answered and not self.gone:
            self._line.cut()

    def add(self, part: bytes) -> None:
        """A part of the body has arrived."""
        self._parts.append(part)
        self.held += len(part)
        self.wake()

    def end(self) -> None:
        """The body is complete."""
        self.whole = True
        self.wake()

    def fail(self, fault: Exception) -> None:
        """The body will not arrive. The connection closes with the answer."""
        self._fault, self.keep_alive = fault, False
        self.wake()

    def lose(self) -> None:
        """The client is gone."""
        self.gone = True
        self._headers.clear()  # frees memory: the application may work for a while yet
        self.wake()

    def wake(self) -> None:
        """Wake the application's `receive`, because something has changed."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_awaited(self) -> bool:
        """Whether the application waits for the body."""
        return self._waiter is not None and not self._waiter.done() and not self.whole

    # Called by the application.

    async def receive(self) -> dict[str, Any]:
        """The next part of the body. After the end: a disconnect, once the client has gone or finished sending."""
        if self._continue:
            self._continue = False
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            if self.gone or self.answered or (self._end_received and self._line.left):
                return {"type": "http.disconnect"}
            if self._fault is not None:
                fault, self._fault = self._fault, None
                try:
                    raise fault
                finally:
                    del fault  # breaks a reference cycle
            if self._parts or (self.whole and not self._end_received):
                parts, self._parts, self.held, self._end_received = self._parts, [], 0, self.whole
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
        """Send a whole answer, head and body, by one system call."""
        if self.gone:
            return
        head, body = self._head(message), b"" if self._head_only else message["body"]
        self.started = True
        self._finish(head, body)

    def still_there(self) -> bool:
        """Whether a client that has finished sending still reads. One that has left refuses an interim response."""
        if not self.gone and not self._asked:
            self._asked = True
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return not self.gone and not self._line.is_reset()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a part of an answer. The headers must contain its length."""
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
            self.keep_alive = False  # the client may or may not send the body without a 100 Continue
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
        self._line.write(head, body) if len(body) > _JOIN_LIMIT else self._line.write(head + body)
        self.wake()
        self._line.answered(self)
