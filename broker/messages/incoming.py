"""Incoming messages: validates what is published, and prepares it for the store.

The JSON of `data` is never parsed: its text is copied from the request to the store, and from there to the answer.
"""

import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from broker.errors import InvalidRequest, PayloadTooLarge, ValidationFailed
from broker.messages import times
from broker.messages.stored import RECORD_IDS, EventBody, RecordBody, encode, lacks, provider_of
from broker.messages.trace_context import has_trace
from broker.messages.validation import decode

T = TypeVar("T")
Kind = Literal["records", "events"]
Text255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
HEADER_NAME = r"[A-Za-z0-9_.-]{1,128}"
_HEADER_NAMES = {"propertyNames": {"pattern": f"^{HEADER_NAME}$"}}
MAX_HEADERS, MAX_HEADER_BYTES = 32, 16_384
Headers = Annotated[dict[str, str], msgspec.Meta(max_length=MAX_HEADERS, extra_json_schema=_HEADER_NAMES)]


def _uuids() -> Iterator[str]:
    """Generate UUIDs: 88 random bits for each run of 2^32, and a counter.

    Random bits for each UUID would cost more than everything else.
    """
    while True:
        h = os.urandom(12).hex()
        begin = f"{h[:8]}-{h[8:12]}-4{h[12:15]}-a{h[15:18]}-{h[18:22]}"
        for count in range(1 << 32):
            yield f"{begin}{count:08x}"


fresh_id = _uuids().__next__


class RecordMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A version of an upstream object, as published to a record stream."""

    collection_id: Text255
    id: Text255 | None = None
    upstream_id: Text255 | None = None
    resource_id: Text255 | None = None
    sync_id: Text255 | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)  # empty = absent
    deleted: bool | None = False
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None
    headers: Headers | None = None


class EventMessage(msgspec.Struct, forbid_unknown_fields=True):
    """An event, as published to an event stream."""

    collection_id: Text255
    data: msgspec.Raw
    id: Text255 | None = None
    upstream_id: Text255 | None = None
    resource_id: Text255 | None = None
    sync_id: Text255 | None = None
    event: Text64 | None = "created"
    changes: dict[str, msgspec.Raw] | None = None
    key: Text255 | None = None
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None
    headers: Headers | None = None
    deliver_at: str | None = None
    ttl_ms: Annotated[int, msgspec.Meta(ge=1, le=2**45)] | None = None


class _RecordBatch(msgspec.Struct, forbid_unknown_fields=True):
    messages: Annotated[list[RecordMessage], msgspec.Meta(min_length=1, max_length=1000)]


class _EventBatch(msgspec.Struct, forbid_unknown_fields=True):
    messages: Annotated[list[EventMessage], msgspec.Meta(min_length=1, max_length=1000)]


_BATCHES: dict[Kind, "msgspec.json.Decoder[Any]"] = {
    "records": msgspec.json.Decoder(_RecordBatch),
    "events": msgspec.json.Decoder(_EventBatch),
}
_SINGLES: dict[Kind, "msgspec.json.Decoder[Any]"] = {
    "records": msgspec.json.Decoder(RecordMessage),
    "events": msgspec.json.Decoder(EventMessage),
}


class Outgoing(msgspec.Struct, frozen=True):
    """A message ready for the store: its id, and its arguments for the publishing script."""

    id: str
    arguments: tuple[str | bytes | int, ...]


def decode_batch(kind: Kind, body: bytes) -> Sequence[RecordMessage | EventMessage]:
    """The messages of a request body `{"messages": [...]}`."""
    if not body.strip():
        raise InvalidRequest(f"The body is empty: {_WHAT_TO_WRITE}.")
    try:
        batch = decode(_BATCHES[kind], body)
    except ValidationFailed as exc:
        if any(path.startswith("messages[") for path in exc.errors) or _is_wrapped(body):
            raise
        others = {path: reasons for path, reasons in exc.errors.items() if path != "messages"}
        raise ValidationFailed({"messages": [f"required: {_WHAT_TO_WRITE}"]} | others) from exc
    return batch.messages  # type: ignore[no-any-return]


_WHAT_TO_WRITE = 'write {"messages": [{"collection_id": ..., "data": ...}]}'


def _is_wrapped(body: bytes) -> bool:
    """Whether the body has a `messages` field. New users often send a bare message instead."""
    try:
        return "messages" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False


def decode_one(kind: Kind, line: bytes, path: str) -> RecordMessage | EventMessage:
    """One message of an NDJSON body; `path` names it in errors. ValidationFailed also if the line is not UTF-8.

    The decoder skips `data` and `changes`, whose bytes are stored and delivered unchanged, so UTF-8 is checked here.
    """
    try:
        line.decode()
    except UnicodeDecodeError as exc:
        raise ValidationFailed({path: ["must be UTF-8"]}) from exc
    message: RecordMessage | EventMessage = decode(_SINGLES[kind], line, path)
    return message


def _alias(message: RecordMessage | EventMessage, path: str) -> str | None:
    if message.sync_id is None:
        return message.resource_id
    if message.resource_id not in (None, message.sync_id):
        raise ValidationFailed({f"{path}.sync_id": ["differs from resource_id, whose alias it is"]})
    return message.sync_id


def _instant(text: str | None, path: str, parse: Callable[[str], T]) -> T | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as exc:
        raise ValidationFailed({path: [str(exc)]}) from exc


def outgoing(
    stream: str, message: RecordMessage | EventMessage, path: str, limit: int,
    *, remember: bool = False, trace: dict[str, str] | None = None,
) -> Outgoing:  # fmt: skip
    """Prepare a message for the store. PayloadTooLarge: its stored JSON has more than `limit` bytes.

    `remember`: remember a generated id like a given one, so that repeating the publish with it is a duplicate.
    `trace`: trace headers for a message that has none of its own.
    """
    _instant(message.upstream_created_at, f"{path}.upstream_created_at", times.microseconds)
    updated_us = _instant(message.upstream_updated_at, f"{path}.upstream_updated_at", times.exact_microseconds)
    resource_id = _alias(message, path)
    if remember and message.id is None and isinstance(message, EventMessage):
        message = msgspec.structs.replace(message, id=fresh_id())
    given = message.headers
    if given:
        _check_headers(given, f"{path}.headers")
    if trace is not None:
        message.headers = _with_trace(given, trace)
    make = _record if isinstance(message, RecordMessage) else _event
    result, size = make(stream, message, path, resource_id, updated_us)  # type: ignore[arg-type]
    if size > limit and message.headers is not given:  # headers that the sender did not write must not make it too large
        message.headers = given
        result, size = make(stream, message, path, resource_id, updated_us)  # type: ignore[arg-type]
    if size > limit:
        raise PayloadTooLarge(f"{path} is {size} bytes; a message may have {limit}.")
    return result


def _check_headers(headers: dict[str, str], path: str) -> None:
    for name in headers:
        if not re.fullmatch(HEADER_NAME, name):
            raise ValidationFailed({path: [f"{name[:128]!r} is not 1 to 128 of A-Z a-z 0-9 _ . -"]})
    if _bytes_of(headers) > MAX_HEADER_BYTES:
        raise ValidationFailed({path: [f"must be at most {MAX_HEADER_BYTES} bytes in all"]})


def _bytes_of(headers: dict[str, str]) -> int:
    return sum(len(text.encode()) for pair in headers.items() for text in pair)


def _with_trace(headers: dict[str, str] | None, trace: dict[str, str]) -> dict[str, str] | None:
    """The message's headers plus its call's trace, unless it has a trace already or no room for one."""
    if not headers:
        return trace
    joined = headers | trace
    fits = len(joined) <= MAX_HEADERS and _bytes_of(joined) <= MAX_HEADER_BYTES
    return joined if fits and not has_trace(headers) else headers


def _identity(stream: str, collection_id: str, upstream_id: str) -> str:
    """The text from which a record's id is made.

    If a part contains the separator, a length keeps the text unique.
    """
    if "\0" in collection_id or "\0" in upstream_id:
        collection_id = f"{len(collection_id)}\0{collection_id}"
    return "\0".join((stream, collection_id, upstream_id))


def _record(stream: str, message: RecordMessage, path: str, resource_id: str | None, updated_us: str | None) -> tuple[Outgoing, int]:
    data = message.data
    if not len(bytes(data)):
        if not message.deleted:
            raise ValidationFailed({f"{path}.data": ["required unless deleted is true"]})
        data = msgspec.Raw(b"null")
    record_id = message.id
    if record_id is None:
        if message.upstream_id is None:
            raise ValidationFailed({f"{path}.upstream_id": ["required unless id is given"]})
        record_id = str(uuid.uuid5(RECORD_IDS, _identity(stream, message.collection_id, message.upstream_id)))
    stored = RecordBody(
        collection_id=message.collection_id, resource_id=resource_id, id=record_id, provider=provider_of(message.collection_id),
        upstream_id=message.upstream_id, deleted=message.deleted is True, upstream_created_at=message.upstream_created_at,
        upstream_updated_at=message.upstream_updated_at, headers=message.headers, data=data,
    )  # fmt: skip
    body = encode(stored)
    content = b"\0".join(
        (
            b"deleted" if message.deleted else b"",
            (message.upstream_updated_at or "").encode(),
            (resource_id or "").encode(),
            bytes(data),
        )
    )
    digest = blake2b(content, digest_size=12).hexdigest()
    arguments = (
        record_id, message.collection_id, resource_id or "", updated_us or "", digest,
        "1" if message.deleted else "", lacks(stored), body,
    )  # fmt: skip
    return Outgoing(record_id, arguments), len(body)


def _event(stream: str, message: EventMessage, path: str, resource_id: str | None, updated_us: str | None) -> tuple[Outgoing, int]:
    event_id = message.id if message.id is not None else fresh_id()
    key = message.key if message.key is not None else message.upstream_id
    stored = EventBody(
        collection_id=message.collection_id, resource_id=resource_id, key=key, id=event_id,
        provider=provider_of(message.collection_id), upstream_id=message.upstream_id, event=message.event or "created",
        changes=message.changes, upstream_created_at=message.upstream_created_at,
        upstream_updated_at=message.upstream_updated_at, headers=message.headers, data=message.data,
    )  # fmt: skip
    body = encode(stored)
    at_us = _instant(message.deliver_at, f"{path}.deliver_at", times.microseconds)
    at_ms = "" if at_us is None else -(-at_us // 1000)
    ttl_ms = "" if message.ttl_ms is None else message.ttl_ms
    arguments = (message.id or "", message.collection_id, resource_id or "", lacks(stored), body, at_ms, ttl_ms)
    return Outgoing(event_id, arguments), len(body)
