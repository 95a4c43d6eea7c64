"""Messages on their way in and out: what may be published, how it is stored, and how it is delivered.

The JSON of `data` is never taken apart: it is cut out of the request as it stands and put into the answer as it stands.
"""

import uuid
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec

from broker import times
from broker.errors import PayloadTooLarge, ValidationFailed
from broker.validation import decode

Kind = Literal["records", "events"]
Text255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

# The name space of the ids of records that come without one.
RECORD_IDS = uuid.UUID("6f1c1a7e-3f0b-5a52-9a53-0d6f4f5c2b11")


class RecordMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A version of an upstream object, as published to a record stream."""

    collection_id: Text255
    id: Text255 | None = None
    upstream_id: Text255 | None = None
    resource_id: Text255 | None = None
    sync_id: Text255 | None = None
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)  # empty = absent
    deleted: bool = False
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None


class EventMessage(msgspec.Struct, forbid_unknown_fields=True):
    """Something that happened, as published to an event stream."""

    collection_id: Text255
    data: msgspec.Raw
    id: Text255 | None = None
    upstream_id: Text255 | None = None
    resource_id: Text255 | None = None
    sync_id: Text255 | None = None
    event: Text64 = "created"
    changes: dict[str, msgspec.Raw] | None = None
    key: Text255 | None = None
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None
    deliver_at: str | None = None
    ttl_ms: Annotated[int, msgspec.Meta(ge=1, le=2**45)] | None = None


class _RecordBody(msgspec.Struct):
    id: str
    collection_id: str
    provider: str
    resource_id: str | None
    upstream_id: str | None
    data: msgspec.Raw
    deleted: bool
    upstream_created_at: str | None
    upstream_updated_at: str | None


class _EventBody(msgspec.Struct):
    id: str
    collection_id: str
    provider: str
    resource_id: str | None
    upstream_id: str | None
    event: str
    data: msgspec.Raw
    changes: dict[str, msgspec.Raw] | None
    key: str | None
    upstream_created_at: str | None
    upstream_updated_at: str | None


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
_encode = msgspec.json.Encoder().encode


class Outgoing(msgspec.Struct, frozen=True):
    """A message ready for the store: its id, and the arguments of the publishing script."""

    id: str
    arguments: tuple[str | bytes | int, ...]


def decode_batch(kind: Kind, body: bytes) -> Sequence[RecordMessage | EventMessage]:
    """The messages of a request body `{"messages": [...]}`."""
    batch = decode(_BATCHES[kind], body)
    return batch.messages  # type: ignore[no-any-return]


def decode_one(kind: Kind, line: bytes | memoryview, path: str) -> RecordMessage | EventMessage:
    """One message of an NDJSON body; `path` names it in errors."""
    message: RecordMessage | EventMessage = decode(_SINGLES[kind], line, path)
    return message


def provider_of(collection_id: str) -> str:
    """What stands before the first colon."""
    return collection_id.partition(":")[0]


def _alias(message: RecordMessage | EventMessage, path: str) -> str | None:
    if message.sync_id is None:
        return message.resource_id
    if message.resource_id not in (None, message.sync_id):
        raise ValidationFailed({f"{path}.sync_id": ["differs from resource_id, whose alias it is"]})
    return message.sync_id


def _instant(text: str | None, path: str) -> int | None:
    if text is None:
        return None
    try:
        return times.microseconds(text)
    except ValueError as exc:
        raise ValidationFailed({path: [str(exc)]}) from exc


def outgoing(stream: str, message: RecordMessage | EventMessage, path: str, limit: int) -> Outgoing:
    """Make a message ready for the store. `limit` in bytes bounds its stored JSON: PayloadTooLarge."""
    _instant(message.upstream_created_at, f"{path}.upstream_created_at")
    updated_us = _instant(message.upstream_updated_at, f"{path}.upstream_updated_at")
    resource_id = _alias(message, path)
    make = _record if isinstance(message, RecordMessage) else _event
    result, size = make(stream, message, path, resource_id, updated_us)  # type: ignore[arg-type]
    if size > limit:
        raise PayloadTooLarge(f"{path} is {size} bytes; a message may have {limit}.")
    return result


def _record(
    stream: str, message: RecordMessage, path: str, resource_id: str | None, updated_us: int | None
) -> tuple[Outgoing, int]:
    data = message.data
    if not len(bytes(data)):
        if not message.deleted:
            raise ValidationFailed({f"{path}.data": ["required unless deleted is true"]})
        data = msgspec.Raw(b"null")
    record_id = message.id
    if record_id is None:
        if message.upstream_id is None:
            raise ValidationFailed({f"{path}.upstream_id": ["required unless id is given"]})
        record_id = str(uuid.uuid5(RECORD_IDS, "\0".join((stream, message.collection_id, message.upstream_id))))
    body = _encode(
        _RecordBody(
            record_id, message.collection_id, provider_of(message.collection_id), resource_id, message.upstream_id,
            data, message.deleted, message.upstream_created_at, message.upstream_updated_at,
        )
    )  # fmt: skip
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
        record_id, message.collection_id, resource_id or "", "" if updated_us is None else updated_us, digest,
        "1" if message.deleted else "", body,
    )  # fmt: skip
    return Outgoing(record_id, arguments), len(body)


def _event(
    stream: str, message: EventMessage, path: str, resource_id: str | None, updated_us: int | None
) -> tuple[Outgoing, int]:
    event_id = message.id if message.id is not None else str(uuid.uuid4())
    key = message.key if message.key is not None else message.upstream_id
    body = _encode(
        _EventBody(
            event_id, message.collection_id, provider_of(message.collection_id), resource_id, message.upstream_id,
            message.event, message.data, message.changes, key, message.upstream_created_at, message.upstream_updated_at,
        )
    )  # fmt: skip
    at_us = _instant(message.deliver_at, f"{path}.deliver_at")
    at_ms = "" if at_us is None else -(-at_us // 1000)
    ttl_ms = "" if message.ttl_ms is None else message.ttl_ms
    arguments = (message.id or "", message.collection_id, resource_id or "", key or "", body, at_ms, ttl_ms)
    return Outgoing(event_id, arguments), len(body)


def complete(stream: str, message_id: str, idx: bytes | int, inserted_at: bytes, body: bytes) -> bytes:
    """The JSON of a message as it is delivered: the stored body and what the store adds to it."""
    if inserted_at == b"plain":
        body = _from_fields(stream, message_id, body)
    inserted_ms = int(inserted_at) if inserted_at.isdigit() else int(message_id.partition("-")[0])
    index = idx if isinstance(idx, int) else int(idx)
    head = f'{{"stream_id":"{stream}","updated_idx":{index},"inserted_at":"{times.rfc3339(inserted_ms)}",'
    return head.encode() + body[1:]


def _from_fields(stream: str, message_id: str, fields_json: bytes) -> bytes:
    """The body of an event that a plain Redis client added by XADD: its fields, with `data` as JSON or as a string."""
    fields: dict[str, str] = msgspec.json.decode(fields_json.decode("utf-8", "replace"), type=dict[str, str])
    text = fields.get("data", "null").encode()
    try:
        msgspec.json.decode(text)
        data = msgspec.Raw(text)
    except (msgspec.DecodeError, RecursionError):
        data = msgspec.Raw(_encode(fields["data"]))
    collection_id = fields.get("collection_id", "")
    upstream_id = fields.get("upstream_id")
    return _encode(
        _EventBody(
            fields.get("id") or str(uuid.uuid5(RECORD_IDS, f"{stream}\0{message_id}")), collection_id,
            provider_of(collection_id), fields.get("resource_id"), upstream_id, fields.get("event", "created"), data, None,
            fields.get("key", upstream_id), None, None,
        )
    )  # fmt: skip


def pairs(flat: list[Any]) -> Iterator[tuple[str, str]]:
    """A flat reply of names and values as text."""
    for i in range(0, len(flat), 2):
        yield flat[i].decode(), flat[i + 1].decode()
