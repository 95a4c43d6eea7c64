"""Endpoints of streams, their messages, and publishing (C8-C17)."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, closing

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from broker.errors import InvalidRequest, StreamNotFound
from broker.messages.names import is_name
from broker.messages.times import microseconds
from broker.messages.validation import decode
from broker.streams.lifecycle import StreamChanges, StreamSpec
from broker.streams.publishing import count_by_status
from broker.streams.search import Search, StoredMessage
from http_api.auth import require
from http_api.bodies import codec
from http_api.bodies.codec import answer, page_query, query, read_json, truth, while_there
from http_api.bodies.negotiation import JSON, accepted
from http_api.bodies.overflow import Overflow
from http_api.context import context, made, span_of, trace_of
from http_api.monitoring import metrics
from http_api.shapes.answers import Cancelled, Deleted, PublishAnswer, ScheduledPage, StreamPage

_SPEC = msgspec.json.Decoder(StreamSpec)
_CHANGES = msgspec.json.Decoder(StreamChanges)
_IN_MEMORY = 1 << 20


def _stream_name(request: Request) -> str:
    name: str = request.path_params["stream"]
    if not is_name(name):
        raise StreamNotFound(f"There is no stream {name[:80]!r}.")
    return name


async def create(request: Request) -> Response:
    """POST /v1/streams."""
    require(request, "admin")
    spec = decode(_SPEC, await read_json(request, context(request).settings.max_body_bytes))
    made(request, "stream", spec.name)
    stream, new = await context(request).broker.streams.create(spec)
    made(request, "stream", spec.name, new=new)
    return answer(request, stream, 201 if new else 200)


async def page(request: Request) -> Response:
    """GET /v1/streams."""
    require(request, "admin", read=True)
    return answer(request, StreamPage(*await context(request).broker.streams.page(*page_query(request))))


async def show(request: Request) -> Response:
    """GET /v1/streams/{stream}."""
    require(request, "admin", read=True)
    return answer(request, await context(request).broker.streams.get(_stream_name(request)))


async def update(request: Request) -> Response:
    """PATCH /v1/streams/{stream}."""
    require(request, "admin")
    changes = decode(_CHANGES, await read_json(request, context(request).settings.max_body_bytes))
    return answer(request, await context(request).broker.streams.update(_stream_name(request), changes))


async def delete(request: Request) -> Response:
    """DELETE /v1/streams/{stream}."""
    require(request, "admin")
    name = _stream_name(request)
    for consumer in await context(request).broker.streams.delete(name, force=truth(request, "force")):
        metrics.consumer_deleted(consumer)
    metrics.stream_deleted(name)
    return answer(request, Deleted(name))


def message_json(message: StoredMessage) -> bytes:
    """A stored message as the API shows it."""
    return b'{"id":"%b","%b":%b}' % (message.id.encode(), message.label.encode(), message.json)


def page_json(rows: list[bytes], cursor: str | None) -> bytes:
    """A page of rows that are already JSON."""
    return b'{"data":[%b],"next":%b}' % (b",".join(rows), b"null" if cursor is None else b'"%b"' % cursor.encode())


async def messages(request: Request) -> Response:
    """GET /v1/streams/{stream}/messages."""
    require(request, "admin", read=True)
    after, limit = page_query(request)
    order = request.query_params.get("order", "asc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc.")
    what = Search(
        from_ms=_instant(request, "from"), to_ms=_instant(request, "to"), newest_first=order == "desc",
        **{name: query(request, name) for name in ("collection_id", "id", "upstream_id", "resource_id", "key", "contains")},
    )  # fmt: skip
    async with context(request).pages:
        page = await while_there(request, context(request).broker.streams.messages(_stream_name(request), after, limit, what=what))
    text = page_json([message_json(m) for m in page.messages], page.next)
    return answer(request, b'%b,"scanned":%d}' % (text[:-1], page.scanned))


def _instant(request: Request, name: str) -> int | None:
    """A time from the query, in ms. InvalidRequest: it is not a time."""
    text = query(request, name)
    try:
        return None if text is None else max(0, microseconds(text) // 1000)
    except ValueError as exc:
        raise InvalidRequest(f"{name} {exc}.") from exc


async def message(request: Request) -> Response:
    """GET /v1/streams/{stream}/messages/{message_id}."""
    require(request, "admin", read=True)
    found, states = await context(request).broker.inspection.message(_stream_name(request), request.path_params["message_id"])
    return answer(request, b'%b,"consumers":%b}' % (message_json(found)[:-1], msgspec.json.encode(states)))


async def scheduled(request: Request) -> Response:
    """GET /v1/streams/{stream}/scheduled."""
    require(request, "admin", read=True)
    return answer(request, ScheduledPage(*await context(request).broker.inspection.scheduled(_stream_name(request), *page_query(request))))


async def cancel(request: Request) -> Response:
    """DELETE /v1/streams/{stream}/scheduled/{id}."""
    require(request, "admin")
    event = request.path_params["id"]
    await context(request).broker.inspection.cancel(_stream_name(request), event)
    return answer(request, Cancelled(event))


async def record(request: Request) -> Response:
    """GET /v1/streams/{stream}/records/{id}."""
    require(request, "admin", read=True)
    found = await context(request).broker.streams.record(_stream_name(request), request.path_params["id"])
    return answer(request, found.json)


async def publish(request: Request) -> Response:
    """POST /v1/streams/{stream}/messages."""
    name = _stream_name(request)
    require(request, "publish", name)
    if codec.content_type(request) in codec.NDJSON_NAMES:
        return await _publish_lines(request, name)
    body = await read_json(request, context(request).settings.max_body_bytes)
    results = await context(request).broker.publish_json(name, body, trace=trace_of(request))
    info = count_by_status(results)
    metrics.published(name, info)
    if (span := span_of(request)) is not None:
        span.about(len(results), results[0].message_id)
    return answer(request, PublishAnswer(results, info))


async def _publish_lines(request: Request, name: str) -> Response:
    """Publish NDJSON of any length in constant memory: after the first megabyte, rows of the answer go to disk.

    The answer starts at the end, because an invalid line changes the status.
    """
    limit = context(request).settings.max_message_bytes + 8192
    reading = codec.lines(codec.body_chunks(request), limit, context(request).room, context(request).uploads)
    counts: Counter[str] = Counter()
    rows = Overflow(_IN_MEMORY)
    span = span_of(request)
    try:
        rows.write(b'{"data":[')
        async with aclosing(reading) as lines:  # gives back its turn as soon as a line fails
            async for results in context(request).broker.publish_lines(name, lines, trace=trace_of(request)):
                rows.write(b"," if counts else b"")
                rows.write(msgspec.json.encode(results)[1:-1])
                info = count_by_status(results)
                metrics.published(name, info)
                counts.update(info)
                if span is not None:
                    span.about(len(results), results[0].message_id)
        rows.write(b'],"info":' + msgspec.json.encode(dict(counts)) + b"}\n")
    except BaseException:
        rows.close()
        raise
    if len(rows) <= _IN_MEMORY or accepted(request) != JSON:
        with closing(rows):
            return answer(request, b"".join(rows.pieces()).removesuffix(b"\n"))
    return StreamingResponse(_and_close(rows), 200, {"content-length": str(len(rows))}, JSON)


async def _and_close(rows: Overflow) -> AsyncIterator[bytes]:
    with closing(rows):
        for piece in rows.pieces():
            yield piece
