"""What HTTP is beside requests and answers: what is not HTTP gets an error too, and an answer leaves in one piece."""

import secrets
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from broker.errors import InvalidRequest
from http_api.codec import WHOLE
from http_api.problems import STATUS, Problem

_SUMMARY = "The request is not HTTP as it is understood here: its method, address, headers or length cannot be read."


class Protocol(HttpToolsProtocol):
    """One connection. The parser is httptools, which the package demands."""

    def on_headers_complete(self) -> None:
        """A request begins, whose answer may be written whole."""
        super().on_headers_complete()
        # The request holds the scope. If that held the request, both would stay until cycles are looked for.
        self.scope["extensions"] = {WHOLE: partial(_write_whole, weakref.ref(self.cycle))}  # type: ignore[dict-item]

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses, and close. There is no request yet whose id or Accept could count."""
        body = msgspec.json.encode(Problem(InvalidRequest.code, _SUMMARY))
        lines = [
            b"HTTP/1.1 %d Bad Request" % STATUS[InvalidRequest],
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"x-request-id: " + secrets.token_hex(9).encode(),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()


def _write_whole(request: weakref.ref[RequestResponseCycle], message: Mapping[str, Any]) -> bool:
    """Write an answer by one system call, where uvicorn needs two and looks through every header.

    False: it is left to uvicorn, for the client is gone, is not reading, asked for the head alone, or wants the connection closed.
    """
    cycle = request()
    if (
        cycle is None or cycle.response_started or cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive
        or cycle.scope["method"] == "HEAD"
    ):  # fmt: skip
        return False
    parts = [STATUS_LINE[message["status"]]]
    for name, value in message["headers"]:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", message["body"])
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(parts))
    cycle.message_event.set()
    cycle.on_response()
    return True
