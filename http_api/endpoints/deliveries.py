"""next, ack, nack, and what is pending, next or dead (sections 6 and 7)."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.delivery import Batch, Nack
from broker.errors import InvalidAckToken, InvalidRequest
from http_api import metrics
from http_api.auth import require
from http_api.codec import answer, integer, milliseconds, page_query, query, read_json
from http_api.context import context
from http_api.endpoints.streams import page_json
from http_api.shapes import Acked, Nacked, PendingPage

MAX_WAIT_MS = 300_000
MAX_DELAY_MS = 604_800_000
_OBJECT = msgspec.json.Decoder(dict[str, Any])


async def _fields(request: Request) -> dict[str, Any]:
    """The JSON object of a body; empty where there is no body. InvalidRequest: it is none."""
    body = await read_json(request, context(request).settings.max_body_bytes)
    try:
        return _OBJECT.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidRequest("The body must be a JSON object.") from exc


def _consumer(request: Request) -> str:
    name: str = request.path_params["consumer"]
    require(request, "consume", name)
    return name


def batch_json(batch: Batch) -> bytes:
    """A batch as the API shows it: stored bytes joined, nothing decoded."""
    rows = [
        b'{"ack_token":"%b","id":"%b","deliver_count":%d,"%b":%b}'
        % (d.ack_token.encode(), d.id.encode(), d.deliver_count, d.label.encode(), d.json)
        for d in batch.deliveries
    ]
    return b'{"data":[%b],"info":{"num_pending":%d,"num_ack_pending":%d}}' % (
        b",".join(rows),
        batch.num_pending,
        batch.num_ack_pending,
    )


async def next_(request: Request) -> Response:
    """GET or POST /v1/http-consumers/{consumer}/next."""
    name = _consumer(request)
    asked: dict[str, Any] = dict(request.query_params)
    if request.method == "POST":
        asked |= await _fields(request)
    batch_size = integer(asked.get("batch_size", 1), "batch_size", 1, 1000)
    min_batch = integer(asked.get("min_batch", 1), "min_batch", 1, batch_size)
    wait_ms = milliseconds(asked.get("wait_for", 0), "wait_for", MAX_WAIT_MS)
    batch = await _unless_gone(request, name, batch_size, min_batch, wait_ms)
    metrics.delivered(name, len(batch.deliveries))
    return answer(request, batch_json(batch), cache_control="no-store")


async def _unless_gone(request: Request, name: str, batch_size: int, min_batch: int, wait_ms: int) -> Batch:
    """The batch; a client that goes away while it waits takes no message with it (C21)."""
    if request.method != "POST":
        await request.body()
    call = context(request).broker.next(name, batch_size, min_batch=min_batch, wait_ms=wait_ms)
    if wait_ms == 0:
        return await call
    waiting = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
        return await waiting
    except asyncio.CancelledError:
        if gone.done():
            raise ClientGone from None
        waiting.cancel()
        raise
    finally:
        gone.cancel()


class ClientGone(Exception):
    """Nobody is there to answer."""


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _tokens(fields: dict[str, Any]) -> list[str]:
    tokens = fields.get("ack_tokens")
    if not isinstance(tokens, list) or not 1 <= len(tokens) <= 1000:
        raise InvalidRequest("ack_tokens must be a list of 1 to 1000 ack tokens.")
    for token in tokens:
        if not isinstance(token, str):
            raise InvalidAckToken("ack_tokens must be strings as next gave them.")
    return tokens


async def ack(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/ack."""
    name = _consumer(request)
    settled = await context(request).broker.ack(name, _tokens(await _fields(request)))
    metrics.settled(name, "ack", settled.count)
    return answer(request, Acked(settled.count, settled.stale))


async def nack(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/nack."""
    name = _consumer(request)
    fields = await _fields(request)
    delay_ms = fields.get("delay_ms")
    if delay_ms is not None:
        delay_ms = integer(delay_ms, "delay_ms", 0, MAX_DELAY_MS)
    settled = await context(request).broker.nack(name, [Nack(token, delay_ms) for token in _tokens(fields)])
    metrics.settled(name, "nack", settled.count)
    return answer(request, Nacked(settled.count, settled.stale))


async def pending(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/pending."""
    rows, cursor = await context(request).broker.deliveries.pending(_consumer(request), *page_query(request))
    return answer(request, PendingPage(rows, cursor))


async def peek(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/peek."""
    name = _consumer(request)
    limit = integer(request.query_params.get("limit", 10), "limit", 1, 1000)
    found = await context(request).broker.deliveries.peek(name, limit)
    rows = [
        b'{"id":"%b","deliver_count":%d,"%b":%b}' % (m.id.encode(), m.deliver_count, m.label.encode(), m.json) for m in found
    ]
    return answer(request, b'{"data":[%b]}' % b",".join(rows))


async def dead_letters(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/dead-letters."""
    name = _consumer(request)
    found, cursor = await context(request).broker.deliveries.dead_letters(
        name, *page_query(request), query(request, "collection_id"), query(request, "reason")
    )
    rows = []
    for letter in found:
        fields = msgspec.structs.asdict(letter)
        label, message = fields.pop("label"), fields.pop("json")
        rows.append(b'%b,"%b":%b}' % (msgspec.json.encode(fields)[:-1], label.encode(), message))
    return answer(request, page_json(rows, cursor))
