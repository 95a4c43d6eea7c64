"""Stored form of a message: its JSON body, and letters for the fields that the body lacks (docs/decisions/0012)."""

import itertools
import uuid

import msgspec

# The namespace of generated record ids.
RECORD_IDS = uuid.UUID("6f1c1a7e-3f0b-5a52-9a53-0d6f4f5c2b11")
encode = msgspec.json.Encoder().encode


class RecordBody(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The stored fields of a record. lua/shared/entries.lua reads the first fields in this order."""

    collection_id: str
    resource_id: str | None = None
    id: str
    provider: str
    upstream_id: str | None = None
    deleted: bool = False
    upstream_created_at: str | None = None
    upstream_updated_at: str | None = None
    headers: dict[str, str] | None = None
    data: msgspec.Raw


class EventBody(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The stored fields of an event. lua/shared/entries.lua reads the first fields in this order."""

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
    headers: dict[str, str] | None = None
    data: msgspec.Raw


# Fields that are not stored if they have their default. A letter in the message's head marks each such field, which is
# added again on delivery.
LETTERS: dict[str, tuple[str, bytes]] = {
    "resource_id": ("r", b"null"),
    "upstream_id": ("u", b"null"),
    "key": ("k", b"null"),
    "event": ("e", b'"created"'),
    "changes": ("c", b"null"),
    "deleted": ("d", b"false"),
    "upstream_created_at": ("a", b"null"),
    "upstream_updated_at": ("b", b"null"),
    "headers": ("h", b"null"),
}
_COMMON = {
    absent: "".join(letter for letter, is_absent in zip("ruab", absent, strict=True) if is_absent)
    for absent in itertools.product((True, False), repeat=4)
}


def lacks(body: RecordBody | EventBody) -> str:
    """The letters of the fields that the stored body lacks."""
    letters = _COMMON[
        body.resource_id is None, body.upstream_id is None, body.upstream_created_at is None, body.upstream_updated_at is None
    ]
    if body.headers is None:
        letters += "h"
    if isinstance(body, RecordBody):
        return letters if body.deleted else letters + "d"
    if body.event == "created" and body.changes is None and body.key is None:
        return letters + "eck"
    letters += "e" if body.event == "created" else ""
    letters += "c" if body.changes is None else ""
    letters += "k" if body.key is None else ""
    return letters


def provider_of(collection_id: str) -> str:
    """The part of a collection id before the first colon."""
    return collection_id.partition(":")[0]
