"""Bodies and queries in, JSON or MessagePack out (C1, C5).

There is one path: a MessagePack body becomes JSON at the door, and JSON becomes MessagePack on the way out.
"""

import asyncio
import json
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import msgpack
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.errors import BrokerError, InvalidRequest, PayloadTooLarge
from broker.times import duration_ms
from http_api.accepting import JSON, MSGPACK_NAMES, accepted
from http_api.packing import pack

T = TypeVar("T")
NDJSON = "application/x-ndjson"


class UnsupportedMediaType(BrokerError):
    """A body of a content type that is not understood here."""

    code = "UNSUPPORTED_MEDIA_TYPE"


def header(request: Request, name: bytes) -> str:
    """The first value of a header, empty where there is none. `name` in lower case."""
    for key, value in request.scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def content_type(request: Request) -> str:
    """The media type of the body, without parameters; JSON where none is named."""
    return header(request, b"content-type").partition(";")[0].strip().lower() or JSON


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. ClientDisconnect: the client went away before its end."""
    more = True
    while more:
        chunk, more = await _next_chunk(request)
        yield chunk


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    """The next part of the body, and whether there is more. ClientDisconnect."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What work of many steps gives. ClientDisconnect: the client went away, and the work stopped after its current step."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    """Return when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _whole_body(request: Request, limit: int) -> bytes:
    declared = header(request, b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise PayloadTooLarge(f"The body has {declared} bytes; at most {limit} are allowed.")
    chunks, size, more = [], 0, True
    while more:
        chunk, more = await _next_chunk(request)
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"The body has more than {limit} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


async def read_json(request: Request, limit: int) -> bytes:
    """The body as JSON text in UTF-8, without a byte order mark; empty where there is none.

    UnsupportedMediaType, PayloadTooLarge; InvalidRequest: it is not valid MessagePack or not UTF-8.
    """
    kind = content_type(request)
    if kind != JSON and kind not in MSGPACK_NAMES:
        raise UnsupportedMediaType(f"The content type {kind[:80]!r} is not supported; send {JSON} or {MSGPACK_NAMES[0]}.")
    body = await _whole_body(request, limit)
    if kind != JSON and body:
        return _from_msgpack(body)
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest("The body is not valid UTF-8.") from exc
    return body.removeprefix(BOM_UTF8)


async def lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Split a body at line ends. A line over `limit` bytes is given up to there: it is too long in any case."""
    rest = b""
    async for chunk in chunks:
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        for part in parts:
            yield part
        if len(rest) > limit:
            break
    if rest:
        yield rest


def _from_msgpack(body: bytes) -> bytes:
    try:
        value = msgpack.unpackb(body, strict_map_key=True)
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as exc:
        raise InvalidRequest(_unpackable(exc)) from exc


def _unpackable(error: Exception) -> str:
    """The libraries' words are about their own settings; these are about the body."""
    words = str(error)
    if isinstance(error, UnicodeError):
        return "The body is MessagePack with a string that is not valid UTF-8."
    if isinstance(error, msgpack.StackError | RecursionError):
        return "The body is nested too deeply."
    if "map key" in words or "keys must be" in words:
        return "The body is MessagePack with a map whose keys are not all strings."
    if "JSON serializable" in words:
        return "The body is MessagePack with binary data or an extension type, which JSON has not."
    if "Out of range float" in words:
        return "The body is MessagePack with a number that is not finite, which JSON has not."
    return "The body is not valid MessagePack."


_JSON_TYPE = (b"content-type", JSON.encode())


_VARY = (b"vary", b"Accept")


# An ASGI extension of this server: a message of this type is a response, head and body.
WHOLE = "broker.response.whole"


class _Text(Response):
    """A response without what Starlette works out for others, sent in one piece."""

    def __init__(self, body: bytes, status: int, kind: tuple[bytes, bytes], headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), kind, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": WHOLE, "status": self.status_code, "headers": self.raw_headers, "body": self.body})


def answer(request: Request, body: bytes | msgspec.Struct | dict[str, Any], status: int = 200, **headers: str) -> Response:
    """A response: JSON, or MessagePack of the same shape where the client accepts it."""
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    if not named and request.scope["method"] in ("GET", "HEAD"):
        named.append(_VARY)  # for caches: what must not be stored, and what is posted, is never in one
    media = accepted(request)
    if media == JSON:
        return _Text(text + b"\n", status, _JSON_TYPE, named)  # so that a terminal's prompt stands on a line of its own
    return _Text(pack(text), status, (b"content-type", media.encode()), named)


def integer(value: object, name: str, low: int, high: int) -> int:
    """A number from a query or a body. InvalidRequest: it is none, or out of its range."""
    number: object = value
    if isinstance(value, str):
        number = int(value) if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 20 else None
    if type(number) is not int or not low <= number <= high:
        raise InvalidRequest(f"{name} must be a number from {low} to {high}.")
    return number


def milliseconds(value: object, name: str, high: int) -> int:
    """A number of ms, or a duration such as 500ms, 30s or 5m. InvalidRequest."""
    if isinstance(value, str) and value[-1:].isalpha():
        try:
            value = duration_ms(value, "ms|s|m")
        except ValueError as exc:
            raise InvalidRequest(f"{name} must be a number of ms up to {high}, or such as 500ms, 30s or 5m.") from exc
    return integer(value, name, 0, high)


def query(request: Request, name: str) -> str | None:
    """A query value, None where it is absent or empty."""
    return request.query_params.get(name) or None


def page_query(request: Request, default: int = 100) -> tuple[str | None, int]:
    """`after` and `limit` of a list."""
    return query(request, "after"), integer(request.query_params.get("limit", default), "limit", 1, 1000)


def truth(request: Request, name: str) -> bool:
    """A query value of true or false. InvalidRequest: another."""
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"{name} must be true or false.")
    return text in ("true", "1")
