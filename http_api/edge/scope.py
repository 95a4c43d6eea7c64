"""ASGI scopes of requests, and the answer to what is not a request."""

import secrets
from typing import Any

import msgspec

from broker.errors import BrokerError
from http_api.bodies.codec import STILL_THERE, WHOLE
from http_api.edge.exchange import STATUS_LINE, Exchange
from http_api.edge.requests import Head
from http_api.problems import STATUS, Problem

Scope = dict[str, Any]
Address = tuple[str, int] | None
_ASGI = {"version": "3.0", "spec_version": "2.3"}


def scope_of(head: Head, exchange: Exchange, here: Address, there: Address) -> Scope:
    """The ASGI scope of a request."""
    return {
        "type": "http", "asgi": _ASGI, "http_version": head.version, "server": here, "client": there,
        "scheme": "http", "root_path": "", "method": head.method, "path": head.path, "raw_path": head.raw_path,
        "query_string": head.query, "headers": head.headers,
        "extensions": {WHOLE: exchange.send_whole, STILL_THERE: exchange.still_there},
    }  # fmt: skip


def address_of(found: object) -> Address:
    """The host and port of a socket's address."""
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def problem_of(refusal: BrokerError) -> bytes:
    """The problem response to an unreadable request, which has no usable request id or Accept header."""
    body = msgspec.json.encode(Problem(refusal.code, refusal.summary)) + b"\n"
    lines = (
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"x-request-id: " + secrets.token_hex(9).encode(),
        b"connection: close",
    )
    return STATUS_LINE[STATUS[type(refusal)]] + b"\r\n".join((*lines, b"", body))
