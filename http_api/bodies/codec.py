"""Codec: reads bodies and queries, writes JSON or MessagePack (C1, C5).

Everything inside is JSON: a MessagePack body is converted on arrival, and a MessagePack answer before sending.
"""

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.errors import BrokerError, InvalidRequest, PayloadTooLarge
from broker.messages.times import duration_ms
from broker.streams.publishing import PAUSE
from http_api.bodies.memory_budget import FREE, MemoryBudget
from http_api.bodies.negotiation import JSON, MSGPACK_NAMES, accepted
from http_api.bodies.packing import pack
from http_api.bodies.unpacking import json_of
from http_api.refusals import RequestTimeout

T = TypeVar("T")
# ASGI extensions of this server. The first sends a whole response, head and body, as a message of this type,
WHOLE = "broker.response.whole"
# the second says whether a client that has finished sending still reads.
STILL_THERE = "broker.client.still_there"
_ASK_S = 0.2
# NDJSON: the lines so far are stored after a pause this long, or when a turn is over.
PAUSE_S, _TURN_S = 0.2, 1.0
NDJSON_NAMES = ("application/x-ndjson", "application/ndjson")
_TAKEN = f"Send {JSON} or {MSGPACK_NAMES[0]}, or to publish also {NDJSON_NAMES[0]}."
# A body that is buffered whole must arrive faster than this, in bytes/s, after a first span: it occupies memory.
_SLOWEST_S, _SLOWEST_RATE = 30.0, 1 << 16
# Time for a body that counts for nothing, in s; a stall ends it sooner.
_SMALL_S = 600.0


class UnsupportedMediaType(BrokerError):
    """The content type of the body is not supported."""

    code = "UNSUPPORTED_MEDIA_TYPE"


def header(request: Request, name: bytes) -> str:
    """The first value of a header, empty if it is missing. `name` in lower case."""
    for key, value in request.scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def content_type(request: Request) -> str:
    """The media type of the body without parameters; JSON if there is no body. UnsupportedMediaType."""
    encoding = header(request, b"content-encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"The content encoding {encoding[:80]!r} is not supported. {_TAKEN}")
    kind = header(request, b"content-type").partition(";")[0].strip().lower()
    if kind:
        return kind
    if header(request, b"transfer-encoding") or header(request, b"content-length").strip("0 "):
        raise UnsupportedMediaType(f"The body has no Content-Type. {_TAKEN}")
    return JSON


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives; an empty chunk marks a pause. ClientDisconnect: the client disconnected."""
    more = True
    while more:
        coming = asyncio.ensure_future(_next_chunk(request))
        try:
            if not (await asyncio.wait((coming,), timeout=PAUSE_S))[0]:
                yield b""
                await asyncio.wait((coming,))
            chunk, more = coming.result()
        finally:
            coming.cancel()
            del coming  # breaks a reference cycle that would keep the received lines
        yield chunk


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    """The next part of the body, and whether there is more. ClientDisconnect."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Run work of many steps and return its result.

    ClientDisconnect: the client disconnected, and the work stopped after its current step.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnect(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        # A client that has only finished sending still gets its answer.
        still_there = request.scope.get("extensions", {}).get(STILL_THERE)
        while still_there is not None and not working.done():
            await asyncio.wait((working,), timeout=_ASK_S)
            if not working.done() and not still_there():
                break
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        del working, leaving  # breaks a reference cycle


async def disconnect(request: Request) -> None:
    """Return when the client has disconnected or finished sending."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _whole_body(request: Request, limit: int) -> bytes:
    declared = header(request, b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise PayloadTooLarge(f"The body has {declared} bytes; at most {limit} are allowed.")
    first, more = await _next_chunk(request)
    if not more and len(first) <= limit:
        return first
    size = int(declared) if declared.isdigit() else limit
    seconds = _SMALL_S
    if size > FREE:
        await request.scope["context"].room.take(size)
        request.scope["room"] = size
        seconds = _SLOWEST_S + size / _SLOWEST_RATE
    try:
        async with asyncio.timeout(seconds):
            return await _rest_of_body(request, first, limit)
    except TimeoutError as exc:
        raise RequestTimeout(f"The body of {size} bytes did not come within {seconds:.0f} s.") from exc


async def _rest_of_body(request: Request, first: bytes, limit: int) -> bytes:
    chunks, size, more = [first], len(first), True
    while more:
        if size > limit:
            raise PayloadTooLarge(f"The body has more than {limit} bytes.")
        chunk, more = await _next_chunk(request)
        size += len(chunk)
        chunks.append(chunk)
    if size > limit:
        raise PayloadTooLarge(f"The body has more than {limit} bytes.")
    return b"".join(chunks)


async def read_json(request: Request, limit: int) -> bytes:
    """The body as JSON text in UTF-8, without a byte order mark; empty if there is none.

    UnsupportedMediaType, PayloadTooLarge, RequestTimeout; InvalidRequest: it is not valid MessagePack or not UTF-8.
    """
    kind = content_type(request)
    if kind != JSON and kind not in MSGPACK_NAMES:
        raise UnsupportedMediaType(f"The content type {kind[:80]!r} is not supported. {_TAKEN}")
    body = await _whole_body(request, limit)
    if kind != JSON and body:
        return await json_of(body, limit)
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest("The body is not valid UTF-8.") from exc
    return body.removeprefix(BOM_UTF8)


async def lines(chunks: AsyncIterator[bytes], limit: int, room: MemoryBudget, turns: asyncio.Semaphore) -> AsyncGenerator[bytes, None]:
    """Split a body into lines. PAUSE: store the lines so far without waiting for more.

    `turns` bounds how many bodies are read at a time; a slow body gives up its turn. A line of more than `limit` bytes
    is cut there: it is too long in any case. RequestTimeout: a long line arrives too slowly.
    """
    rest, taken, until, turn_ends = b"", 0, 0.0, 0.0
    loop = asyncio.get_running_loop()
    try:
        async for chunk in chunks:
            if turn_ends and (not chunk or loop.time() > turn_ends):
                yield PAUSE
                turns.release()
                turn_ends = 0.0
            if chunk and not turn_ends:
                await turns.acquire()
                turn_ends = loop.time() + _TURN_S
            parts = (rest + chunk).split(b"\n")
            rest = parts.pop()
            for part in parts:
                yield part
            if taken and (parts or loop.time() > until):
                room.give_back(taken)
                taken = 0
                if not parts:
                    raise RequestTimeout(f"A line of more than {FREE} bytes did not come within {_SLOWEST_S:g} s.")
            if len(rest) > limit:
                break
            if len(rest) > FREE and not taken:
                if not room.has(limit) and turn_ends:
                    yield PAUSE
                    turns.release()
                    turn_ends = 0.0
                await room.take(limit)
                taken, until = limit, loop.time() + _SLOWEST_S
        if rest:
            yield rest
    finally:
        if taken:
            room.give_back(taken)
        if turn_ends:
            turns.release()


_JSON_TYPE = (b"content-type", JSON.encode())


_VARY = (b"vary", b"Accept")


class _Text(Response):
    """A response that skips Starlette's defaults and is sent in one piece."""

    def __init__(self, body: bytes, status: int, kind: tuple[bytes, bytes], headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), kind, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": WHOLE, "status": self.status_code, "headers": self.raw_headers, "body": self.body})


def answer(request: Request, body: bytes | msgspec.Struct | dict[str, Any], status: int = 200, **headers: str) -> Response:
    """A response: JSON, or MessagePack of the same shape if the client prefers it."""
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    if not named and request.scope["method"] in ("GET", "HEAD"):
        named.append(_VARY)  # for caches, which never hold answers to POST or with no-store
    media = accepted(request)
    if media == JSON:
        ended = text if text.endswith(b"\n") else text + b"\n"  # so that a terminal's prompt starts on a new line
        return _Text(ended, status, _JSON_TYPE, named)
    return _Text(pack(text), status, (b"content-type", media.encode()), named)


def integer(value: object, name: str, low: int, high: int) -> int:
    """A number from a query or a body. InvalidRequest: it is not a number, or out of range."""
    number: object = value
    if isinstance(value, str):
        number = int(value) if value.isascii() and value.removeprefix("-").isdigit() and len(value) < 20 else None
    if type(number) is not int or not low <= number <= high:
        raise InvalidRequest(f"{name} must be a number from {low} to {high}.")
    return number


def milliseconds(value: object, name: str, high: int) -> int:
    """A number of ms, or a duration such as 500ms, 30s or 5m. InvalidRequest."""
    try:
        if isinstance(value, str) and value[-1:].isalpha():
            value = duration_ms(value, "ms|s|m")
        return integer(value, name, 0, high)
    except (ValueError, InvalidRequest) as exc:
        raise InvalidRequest(f"{name} must be a number of ms from 0 to {high}, or such as 500ms, 30s or 5m.") from exc


def query(request: Request, name: str) -> str | None:
    """A query value, None if it is absent. InvalidRequest: it is empty, which must not select everything (C4)."""
    value = request.query_params.get(name)
    if value == "":
        raise InvalidRequest(f"{name} must not be empty; leave it out to select everything.")
    return value


def page_query(request: Request, default: int = 100) -> tuple[str | None, int]:
    """The parameters `after` and `limit` of a list."""
    return request.query_params.get("after") or None, integer(request.query_params.get("limit", default), "limit", 1, 1000)


def truth(request: Request, name: str) -> bool:
    """A query value of true or false. InvalidRequest: another value."""
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InvalidRequest(f"{name} must be true or false.")
    return text in ("true", "1")
