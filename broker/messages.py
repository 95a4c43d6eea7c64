"""Messages on their way in and out: what may be published, how it is stored, and how it is delivered.

The JSON of `data` is never taken apart: it is cut out of the request as it stands and put into the answer as it stands.
"""

import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from broker import times
from broker.errors import PayloadTooLarge, ValidationFailed
from broker.validation import decode

T = TypeVar("T")
Kind = Literal["records", "events"]
Text255 = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

# The name space of the ids of records that come without one.
RECORD_IDS = uuid.UUID("6f1c1a7e-3f0b-5a52-9a53-0d6f4f5c2b11")


def _uuids() -> Iterator[str]:
    """Fresh UUIDs: 88 random bits for each run of 2^32, and a count. Randomness for each would cost more than all else."""
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


class EventMessage(msgspec.Struct, forbid_unknown_fields=True):
    """Something that happened, as published to an event stream."""

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
    deliver_at: str | None = None
    ttl_ms: Annotated[int, msgspec.Meta(ge=1, le=2**45)] | None = None


class _RecordBody(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is stored of a record, without what is absent. lua/shared/entries.lua reads the first fields in this order."""

    collection_id: str
    resource_id: str | None = None
    id: str
    provider: str
    upstream_id: str | None = None
    deleted: bool = False
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None
    data: msgspec.Raw


class _EventBody(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is stored of an event, likewise."""

    collection_id: str
    resource_id: str | None = None
    key: str | None = None
    id: str
    provider: str
    upstream_id: str | None = None
    event: str = "created"
    changes: dict[str, msgspec.Raw] | None = None
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None
    data: msgspec.Raw


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


# Fields that are not stored where they have their default, and so are put in when the message is delivered: by a letter
# in what the store keeps beside the body.
_LETTERS: dict[str, tuple[str, bytes]] = {
    "resource_id": ("r", b"null"),
    "upstream_id": ("u", b"null"),
    "key": ("k", b"null"),
    "event": ("e", b'"created"'),
    "changes": ("c", b"null"),
    "deleted": ("d", b"false"),
    "upstream_created_at": ("a", b"null"),
    "upstream_updated_at": ("b", b"null"),
}


class _Fillings(dict[bytes, bytes]):
    """Letters -> the JSON of these fields."""

    def __missing__(self, letters: bytes) -> bytes:
        fields = [(name, value) for name, (letter, value) in _LETTERS.items() if letter.encode() in letters]
        self[letters] = b"".join(b'"%b":%b,' % (name.encode(), value) for name, value in fields)
        return self[letters]


_FILLINGS = _Fillings()


_COMMON = {
    absent: "".join(letter for letter, is_absent in zip("ruab", absent, strict=True) if is_absent)
    for absent in itertools.product((True, False), repeat=4)
}


def _lacks(body: _RecordBody | _EventBody) -> str:
    """The letters of the fields that are not stored."""
    letters = _COMMON[
        body.resource_id is None, body.upstream_id is None, body.upstream_created_at is None, body.upstream_updated_at is None
    ]
    if isinstance(body, _RecordBody):
        return letters if body.deleted else letters + "d"
    if body.event == "created" and body.changes is None and body.key is None:
        return letters + "eck"
    letters += "e" if body.event == "created" else ""
    letters += "c" if body.changes is None else ""
    letters += "k" if body.key is None else ""
    return letters


def decode_batch(kind: Kind, body: bytes) -> Sequence[RecordMessage | EventMessage]:
    """The messages of a request body `{"messages": [...]}`."""
    batch = decode(_BATCHES[kind], body)
    return batch.messages  # type: ignore[no-any-return]


def decode_one(kind: Kind, line: bytes, path: str) -> RecordMessage | EventMessage:
    """One message of an NDJSON body; `path` names it in errors. ValidationFailed also where the line is not UTF-8.

    The decoder does not look into `data` and `changes`, and what is stored of them is delivered as it stands.
    """
    try:
        line.decode()
    except UnicodeDecodeError as exc:
        raise ValidationFailed({path: ["must be UTF-8"]}) from exc
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


def _instant(text: str | None, path: str, parse: Callable[[str], T]) -> T | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as exc:
        raise ValidationFailed({path: [str(exc)]}) from exc


def outgoing(stream: str, message: RecordMessage | EventMessage, path: str, limit: int, *, remember: bool = False) -> Outgoing:
    """Make a message ready for the store. `limit` in bytes bounds its stored JSON: PayloadTooLarge.

    `remember`: an id that is made here is remembered like one that was given, so that a repeat with it is a duplicate.
    """
    _instant(message.upstream_created_at, f"{path}.upstream_created_at", times.microseconds)
    updated_us = _instant(message.upstream_updated_at, f"{path}.upstream_updated_at", times.exact_microseconds)
    resource_id = _alias(message, path)
    if remember and message.id is None and isinstance(message, EventMessage):
        message = msgspec.structs.replace(message, id=fresh_id())
    make = _record if isinstance(message, RecordMessage) else _event
    result, size = make(stream, message, path, resource_id, updated_us)  # type: ignore[arg-type]
    if size > limit:
        raise PayloadTooLarge(f"{path} is {size} bytes; a message may have {limit}.")
    return result


def _record(
    stream: str, message: RecordMessage, path: str, resource_id: str | None, updated_us: str | None
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
    stored = _RecordBody(
        collection_id=message.collection_id, resource_id=resource_id, id=record_id, provider=provider_of(message.collection_id),
        upstream_id=message.upstream_id, deleted=message.deleted is True, upstream_created_at=message.upstream_created_at,
        upstream_updated_at=message.upstream_updated_at, data=data,
    )  # fmt: skip
    body = _encode(stored)
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
        "1" if message.deleted else "", _lacks(stored), body,
    )  # fmt: skip
    return Outgoing(record_id, arguments), len(body)


def _event(
    stream: str, message: EventMessage, path: str, resource_id: str | None, updated_us: str | None
) -> tuple[Outgoing, int]:
    event_id = message.id if message.id is not None else fresh_id()
    key = message.key if message.key is not None else message.upstream_id
    stored = _EventBody(
        collection_id=message.collection_id, resource_id=resource_id, key=key, id=event_id,
        provider=provider_of(message.collection_id), upstream_id=message.upstream_id, event=message.event or "created",
        changes=message.changes, upstream_created_at=message.upstream_created_at,
        upstream_updated_at=message.upstream_updated_at, data=message.data,
    )  # fmt: skip
    body = _encode(stored)
    at_us = _instant(message.deliver_at, f"{path}.deliver_at", times.microseconds)
    at_ms = "" if at_us is None else -(-at_us // 1000)
    ttl_ms = "" if message.ttl_ms is None else message.ttl_ms
    arguments = (message.id or "", message.collection_id, resource_id or "", _lacks(stored), body, at_ms, ttl_ms)
    return Outgoing(event_id, arguments), len(body)


def label_of(head: bytes) -> str:
    """`record` or `event`, by what stands beside the body: only a record has the time when it first entered."""
    return "record" if head.count(b" ") == 2 else "event"


@lru_cache(maxsize=1024)
def opening(stream: str) -> bytes:
    """How the JSON of each message of a stream begins, before its pieces."""
    return b'{"stream_id":"%b","updated_idx":' % stream.encode()


def complete(stream: str, ids: Sequence[bytes], heads: Sequence[bytes], bodies: Sequence[bytes]) -> list[bytes]:
    """The JSON of messages as they are delivered: the stored bodies, and in front of each what is not stored in it.

    Heads and bodies are those of lua/shared/entries.lua.
    """
    begin = opening(stream)
    return [b"".join((begin, *parts)) for parts in pieces(stream, ids, heads, bodies)]


def pieces(
    stream: str, ids: Sequence[bytes], heads: Sequence[bytes], bodies: Sequence[bytes]
) -> list[tuple[bytes, bytes, bytes]]:
    """Likewise, but each message in the three pieces that its JSON has behind the opening."""
    fillings, found = dict[tuple[bytes, bytes], bytes](), []
    for message_id, head, body in zip(ids, heads, bodies, strict=True):
        idx, _, rest = head.partition(b" ")
        ms = message_id.partition(b"-")[0]
        if rest == b"plain":
            rest, body = _from_fields(stream, message_id, body)
        filling = fillings.get((ms, rest))
        if filling is None:
            letters, _, inserted_ms = rest.partition(b" ")
            filling = b',"inserted_at":"%b",%b' % (times.rfc3339(int(inserted_ms or ms)).encode(), _FILLINGS[letters])
            fillings[ms, rest] = filling
        found.append((idx, filling, body[1:]))
    return found


def _from_fields(stream: str, message_id: bytes, fields_json: bytes) -> tuple[bytes, bytes]:
    """The letters and the body of an event that a plain Redis client added: its fields, `data` as JSON or as a string."""
    fields: dict[str, str] = msgspec.json.decode(fields_json.decode("utf-8", "replace"), type=dict[str, str])
    text = fields.get("data", "null").encode()
    try:
        msgspec.json.decode(text)
        data = msgspec.Raw(text)
    except (msgspec.DecodeError, RecursionError):
        data = msgspec.Raw(_encode(fields["data"]))
    collection_id = fields.get("collection_id", "")
    upstream_id = fields.get("upstream_id")
    stored = _EventBody(
        collection_id=collection_id, resource_id=fields.get("resource_id"), key=fields.get("key", upstream_id),
        id=fields.get("id") or str(uuid.uuid5(RECORD_IDS, f"{stream}\0{message_id.decode()}")),
        provider=provider_of(collection_id), upstream_id=upstream_id, event=fields.get("event", "created"), data=data,
    )  # fmt: skip
    return _lacks(stored).encode(), _encode(stored)


def pairs(flat: list[Any]) -> Iterator[tuple[str, str]]:
    """A flat reply of names and values as text."""
    for i in range(0, len(flat), 2):
        yield flat[i].decode(), flat[i + 1].decode()
