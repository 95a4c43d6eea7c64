"""Splicing: messages as they are delivered. Stored bytes are joined, and nothing of ours is taken apart.

Heads and bodies are those of lua/shared/entries.lua.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import TypeVar

import msgspec

from broker import times
from broker.bodies import LETTERS, RECORD_IDS, EventBody, encode, lacks, provider_of

V = TypeVar("V", int, str)

# What stands behind the first character.
_OPENED: Callable[[bytes], bytes] = itemgetter(slice(1, None))
# So many of them are joined for the JSON of a delivery.
PIECES = 8


def label_of(head: bytes) -> str:
    """`record` or `event`, by what stands beside the body: only a record has the time when it first entered."""
    return "record" if head.count(b" ") == 2 else "event"


@lru_cache(maxsize=1024)
def opening(stream: str) -> bytes:
    """How the JSON of each message of a stream begins, before its pieces."""
    return b'{"stream_id":"%b","updated_idx":' % stream.encode()


@lru_cache(maxsize=4096)
def _filling(letters: bytes, inserted_ms: bytes) -> bytes:
    """What stands between a message's number and its body: when it entered, and the fields that the body lacks, by their letters."""
    lacked = [b'"%b":%b,' % (name.encode(), value) for name, (letter, value) in LETTERS.items() if letter.encode() in letters]
    return b',"inserted_at":"%b",%b' % (times.rfc3339(int(inserted_ms)).encode(), b"".join(lacked))


def _columns(stream: str, ids: Sequence[bytes], heads: Sequence[bytes], bodies: Sequence[bytes]) -> tuple[list[bytes], ...]:
    """The three pieces that each message's JSON has behind the opening, as columns: of a stream all heads have as many words."""
    words = b" ".join(heads).split(b" ")
    width = heads[0].count(b" ") + 1
    idxs, letters = words[::width], words[1::width]
    if b"plain" in letters:
        bodies = list(bodies)
        for i in [i for i, found in enumerate(letters) if found == b"plain"]:
            letters[i], bodies[i] = _from_fields(stream, ids[i], bodies[i])
    inserted = words[2::width] if width == 3 else b"-".join(ids).split(b"-")[::2]
    return idxs, list(map(_filling, letters, inserted)), list(map(_OPENED, bodies))


def complete(stream: str, ids: Sequence[bytes], heads: Sequence[bytes], bodies: Sequence[bytes]) -> list[bytes]:
    """The JSON of messages as they are delivered: the stored bodies, and in front of each what is not stored in it."""
    begin = opening(stream)
    return [b"".join((begin, *parts)) for parts in zip(*_columns(stream, ids, heads, bodies), strict=True)] if ids else []


def delivered(
    stream: str, ids: Sequence[bytes], tails: Sequence[str], counts: Sequence[int], heads: Sequence[bytes], bodies: Sequence[bytes]
) -> list[bytes]:  # fmt: skip
    """The JSON of deliveries, PIECES a delivery. The first closes the delivery before it; behind the last one a `}` is missing.

    The second is the message id, and the last three are what the message has behind its opening. `tails` are the
    ends of the ack tokens, `counts` deliver counts.
    """
    if not ids:
        return []
    pieces = [b'},{"ack_token":"'] * (PIECES * len(ids))
    pieces[1::PIECES] = pieces[3::PIECES] = ids
    label, begin = label_of(heads[0]).encode(), opening(stream)
    pieces[2::PIECES] = _each(tails, lambda tail: b'%b","id":"' % tail.encode())
    pieces[4::PIECES] = _each(counts, lambda count: b'","deliver_count":%d,"%b":%b' % (count, label, begin))
    pieces[5::PIECES], pieces[6::PIECES], pieces[7::PIECES] = _columns(stream, ids, heads, bodies)
    return pieces


def _each(values: Sequence[V], text: Callable[[V], bytes]) -> list[bytes]:
    """A text for each value, made once for equal ones. Most often all are equal."""
    texts: dict[V, bytes] = {value: text(value) for value in set(values)}
    return list(map(texts.__getitem__, values)) if len(texts) > 1 else [*texts.values()] * len(values)


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
