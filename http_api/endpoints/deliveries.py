"""Endpoints of delivery: next, ack, nack, extend, release, peek, pending, retrying (C20-C36, C60)."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.access.tokens import Access
from broker.consumers.ack_tokens import message_of
from broker.consumers.batches import Nack, Outcome
from broker.errors import InvalidAckToken, InvalidRequest, Unauthenticated, ValidationFailed
from broker.messages.validation import decode
from http_api.auth import require
from http_api.bodies.batch import batch_json
from http_api.bodies.bounded_cache import cached
from http_api.bodies.codec import answer, disconnect, integer, milliseconds, page_query, read_json, while_there
from http_api.context import context, span_of
from http_api.monitoring import metrics
from http_api.shapes.answers import Acked, Extended, Nacked, PendingPage, Released, RetryingPage
from http_api.shapes.requests import (
    MAX_DELAY_MS,
    MAX_REASON,
    MAX_WAIT_MS,
    MOST,
    AckRequest,
    NackOne,
    NackRequest,
    NextRequest,
    ReleaseRequest,
)

_NEXT, _TOKENS, _NACKS, _NACK = (frozenset(kind.__struct_fields__) for kind in (NextRequest, AckRequest, NackRequest, NackOne))
_RELEASE = msgspec.json.Decoder(ReleaseRequest)
_OBJECT = msgspec.json.Decoder(dict[str, Any])


async def _fields(request: Request, known: frozenset[str]) -> dict[str, Any]:
    """The JSON object of a body without nulls; empty if there is no body.

    InvalidRequest: it is not an object, or has an unknown field.
    """
    body = await read_json(request, context(request).settings.max_body_bytes)
    try:
        fields = _OBJECT.decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidRequest("The body must be a JSON object.") from exc
    if not fields.keys() <= known:
        raise _unknown(fields, known)
    if None in fields.values():
        return {name: value for name, value in fields.items() if value is not None}
    return fields


def _unknown(fields: Mapping[str, object], known: frozenset[str], path: str = "") -> InvalidRequest:
    """The error for an unknown field. Ignoring `delay` (for `delay_ms`) would look like success."""
    name = next(name for name in fields if name not in known)
    return InvalidRequest(f"{path}{name[:80]} is no field here; there are {', '.join(sorted(known))}.")


def _consumer(request: Request, *, read: bool = False) -> str:
    name: str = request.path_params["consumer"]
    require(request, "consume", name, read=read)
    return name


def _query(text: bytes) -> dict[str, Any]:
    """The parameters of `next` in a query string."""
    given = dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True))
    return {name: given[name] for name in ("batch_size", "min_batch", "wait_for", "worker") if name in given}


def _limits(asked: Mapping[str, Any]) -> tuple[int, int, int, str]:
    """batch_size, min_batch, the wait in ms, and the worker's name. InvalidRequest."""
    batch_size = integer(asked.get("batch_size", 1), "batch_size", 1, MOST)
    min_batch = integer(asked.get("min_batch", 1), "min_batch", 1, batch_size)
    worker = asked.get("worker", "")
    if "worker" in asked and not (isinstance(worker, str) and 1 <= len(worker) <= 64 and _is_visible(worker)):
        raise InvalidRequest("worker must be 1 to 64 visible characters.")
    return batch_size, min_batch, milliseconds(asked.get("wait_for", 0), "wait_for", MAX_WAIT_MS), worker


def _is_visible(text: str) -> bool:
    return text.isprintable() and not any(map(str.isspace, text))


@cached
def _limits_of(query: bytes) -> tuple[int, int, int, str]:
    """The same from a query string, cached, because workers repeat theirs."""
    return _limits(_query(query))


async def next_(request: Request) -> Response:
    """GET or POST /v1/http-consumers/{consumer}/next."""
    name = _consumer(request)
    query: bytes = request.scope["query_string"]
    fields = await _fields(request, _NEXT) if request.method == "POST" else {}
    batch_size, min_batch, wait_ms, worker = _limits(_query(query) | fields) if fields else _limits_of(query)
    ack, nack = _strings(fields.get("ack", []), "ack", 0), _nacks(fields.get("nack", []), "nack", 0)
    if worker:
        request.scope["worker"] = worker
    batch = await context(request).broker.next(
        name, batch_size, min_batch=min_batch, wait_ms=wait_ms, ack=ack, nack=nack, gone=partial(_leaving, request),
        worker=worker, waited=partial(_note_wait, request),
    )  # fmt: skip
    if request.scope["access"].ended and not batch.deliveries:
        raise Unauthenticated("The access token was revoked or has expired while the call waited.")
    metrics.delivered(name, len(batch.deliveries))
    metrics.settled(name, "ack", batch.settled.acked)
    if nack:
        _count_nacks(name, nack, batch.settled.stale)
    if (span := span_of(request)) is not None:
        span.received(batch, worker)
    text = batch_json(batch)
    if "ack" in fields or "nack" in fields:
        text = b'%b,"settled":%b}' % (text[:-1], msgspec.json.encode(batch.settled))
    return answer(request, text, cache_control="no-store")


def _note_wait(request: Request, seconds: float) -> None:
    request.scope["waited"] = request.scope.get("waited", 0.0) + seconds


def _count_nacks(consumer: str, nacks: Sequence[Nack], stale: Sequence[str]) -> None:
    """Count nacks by outcome, without stale ones. If a token occurs twice, the first one counted."""
    left, outcomes = Counter(stale), Counter[str]()
    for nack in reversed(nacks):
        if left[nack.ack_token]:
            left[nack.ack_token] -= 1
        else:
            outcomes[nack.outcome] += 1
    for outcome, count in outcomes.items():
        metrics.settled(consumer, outcome, count)


async def _leaving(request: Request) -> None:
    """Return when the client has disconnected, or its access token is no longer valid."""
    access: Access = request.scope["access"]
    this = asyncio.current_task()
    assert this is not None  # noqa: S101 - a waiting call watches in a task
    with access.watched(this.cancel):
        try:
            await disconnect(request)
        except asyncio.CancelledError:
            if not access.ended:
                raise


def _strings(tokens: object, name: str, fewest: int = 1) -> list[str]:
    """A list of ack tokens. InvalidRequest: it is not a list. InvalidAckToken: an item is not a string."""
    if not isinstance(tokens, list) or not fewest <= len(tokens) <= MOST:
        raise InvalidRequest(f"{name} must be a list of {fewest} to {MOST} ack tokens.")
    try:
        "".join(tokens)  # the fastest check that all are strings
    except TypeError as exc:
        raise InvalidAckToken(f"{name} must hold strings as next gave them.") from exc
    return tokens


def _nacks(rows: object, name: str, fewest: int = 1) -> list[Nack]:
    """A list of nacks, each a token or an object (C34). InvalidRequest."""
    if not isinstance(rows, list) or not fewest <= len(rows) <= MOST:
        raise InvalidRequest(f"{name} must be a list of {fewest} to {MOST} nacks.")
    return [_nack_of(row, f"{name}[{i}]") for i, row in enumerate(rows)]


def _nack_of(row: object, path: str) -> Nack:
    if isinstance(row, str):
        return Nack(row)
    if not isinstance(row, dict) or not isinstance(row.get("ack_token"), str):
        raise InvalidRequest(f"{path} must be an object with an ack_token.")
    if not row.keys() <= _NACK:
        raise _unknown(row, _NACK, f"{path}.")
    outcome: Outcome = row.get("outcome") or "retry"
    reason, delay_ms = row.get("reason"), row.get("delay_ms")
    if outcome not in get_args(Outcome):
        raise InvalidRequest(f"{path}.outcome must be one of {', '.join(get_args(Outcome))}.")
    if reason is not None and (not isinstance(reason, str) or len(reason) > MAX_REASON):
        raise InvalidRequest(f"{path}.reason must be a string of at most {MAX_REASON} characters.")
    if delay_ms is not None:
        delay_ms = integer(delay_ms, f"{path}.delay_ms", 0, MAX_DELAY_MS)
    return Nack(row["ack_token"], delay_ms, outcome, reason)


async def ack(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/ack."""
    name = _consumer(request)
    tokens = _strings((await _fields(request, _TOKENS)).get("ack_tokens"), "ack_tokens")
    settled = await context(request).broker.ack(name, tokens)
    metrics.settled(name, "ack", settled.count)
    if (span := span_of(request)) is not None:
        span.about(len(tokens), message_of(tokens[0]))
        span.settled(acked=settled.count, stale=len(settled.stale))
    return answer(request, Acked(settled.count, settled.stale))


async def nack(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/nack."""
    name = _consumer(request)
    fields = await _fields(request, _NACKS)
    nacks = _nacks(fields["nacks"], "nacks") if "nacks" in fields else []
    if "ack_tokens" in fields or not nacks:
        delay_ms = fields.get("delay_ms")
        if delay_ms is not None:
            delay_ms = integer(delay_ms, "delay_ms", 0, MAX_DELAY_MS)
        nacks += [Nack(token, delay_ms) for token in _strings(fields.get("ack_tokens"), "ack_tokens")]
    settled = await context(request).broker.nack(name, nacks)
    _count_nacks(name, nacks, settled.stale)
    if (span := span_of(request)) is not None:
        span.about(len(nacks), message_of(nacks[0].ack_token))
        span.settled(nacked=settled.count, stale=len(settled.stale))
    return answer(request, Nacked(settled.count, settled.stale))


async def extend(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/extend."""
    name = _consumer(request)
    done = await context(request).broker.extend(name, _strings((await _fields(request, _TOKENS)).get("ack_tokens"), "ack_tokens"))
    return answer(request, Extended(done.count, done.stale))


async def pending(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/pending."""
    rows, cursor = await context(request).broker.deliveries.pending(_consumer(request, read=True), *page_query(request))
    return answer(request, PendingPage(rows, cursor))


async def retrying(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/retrying."""
    name = _consumer(request, read=True)
    rows, cursor = await while_there(request, context(request).broker.inspection.retrying(name, *page_query(request)))
    return answer(request, RetryingPage(rows, cursor))


async def release(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/pending/release."""
    require(request, "manage", request.path_params["consumer"])
    asked = decode(_RELEASE, await read_json(request, context(request).settings.max_body_bytes))
    if (asked.ids is None) == (asked.worker is None):
        raise ValidationFailed({"ids": ["name either ids or a worker"]})
    released = await context(request).broker.deliveries.release_out(request.path_params["consumer"], asked.ids or (), asked.worker or "")
    return answer(request, Released(released))


async def peek(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/peek."""
    name = _consumer(request, read=True)
    limit = integer(request.query_params.get("limit", 10), "limit", 1, 1000)
    async with context(request).pages:
        found = await context(request).broker.deliveries.peek(name, limit)
    rows = [b'{"id":"%b","deliver_count":%d,"%b":%b}' % (m.id.encode(), m.deliver_count, m.label.encode(), m.json) for m in found]
    return answer(request, b'{"data":[%b]}' % b",".join(rows))
