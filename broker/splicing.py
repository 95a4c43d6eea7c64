"""Splicing: messages as they are delivered. Stored bytes are joined, and nothing of ours is taken apart.

Heads and bodies are those of lua/shared/entries.lua.
"""

import uuid
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from broker import times
from broker.bodies import LETTERS, RECORD_IDS, EventBody, encode, lacks, provider_of


class _Fillings(dict[bytes, bytes]):
    """Letters -> the JSON of these fields."""

    def __missing__(self, letters: bytes) -> bytes:
        fields = [(name, value) for name, (letter, value) in LETTERS.items() if letter.encode() in letters]
        self[letters] = b"".join(b'"%b":%b,' % (name.encode(), value) for name, value in fields)
        return self[letters]


_FILLINGS = _Fillings()


def label_of(head: bytes) -> str:
    """`record` or `event`, by what stands beside the body: only a record has the time when it first entered."""
    return "record" if head.count(b" ") == 2 else "event"


@lru_cache(maxsize=1024)
def opening(stream: str) -> bytes:
    """How the JSON of each message of a stream begins, before its pieces."""
    return b'{"stream_id":"%b","updated_idx":' % stream.encode()


def complete(stream: str, ids: Sequence[bytes], heads: Sequence[bytes], bodies: Sequence[bytes]) -> list[bytes]:
    """The JSON of messages as they are delivered: the stored bodies, and in front of each what is not stored in it."""
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
        data = msgspec.Raw(encode(fields["data"]))
    collection_id = fields.get("collection_id", "")
    upstream_id = fields.get("upstream_id")
    stored = EventBody(
        collection_id=collection_id, resource_id=fields.get("resource_id"), key=fields.get("key", upstream_id),
        id=fields.get("id") or str(uuid.uuid5(RECORD_IDS, f"{stream}\0{message_id.decode()}")),
        provider=provider_of(collection_id), upstream_id=upstream_id, event=fields.get("event", "created"), data=data,
    )  # fmt: skip
    return lacks(stored).encode(), encode(stored)
