"""Outgoing messages: joins stored bytes to the JSON of deliveries, without parsing them.

Heads and bodies are those of lua/shared/entries.lua.
"""

import uuid
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from operator import itemgetter

import msgspec

from broker.messages import times
from broker.messages.stored import LETTERS, RECORD_IDS, EventBody, encode, lacks, provider_of

# All but the first character.
_OPENED: Callable[[bytes], bytes] = itemgetter(slice(1, None))
# Fields of a plain client's entry that do not belong to `data`.
_NAMED = {b"collection_id", b"id", b"resource_id", b"upstream_id", b"event", b"key", b"headers"}


def label_of(head: bytes) -> str:
    """`record` or `event`. Only a record's head has the time when the record was first inserted."""
    return "record" if head.count(b" ") == 2 else "event"


@lru_cache(maxsize=1024)
def opening(stream: str) -> bytes:
    """The beginning of the JSON of each message of a stream."""
    return b'{"stream_id":"%b","updated_idx":' % stream.encode()


@lru_cache(maxsize=4096)
def _filling(letters: bytes, inserted_ms: bytes) -> bytes:
    """The JSON between a message's number and its body: the insertion time, and the fields that the body lacks."""
    lacked = [b'"%b":%b,' % (name.encode(), value) for name, (letter, value) in LETTERS.items() if letter.encode() in letters]
    return b',"inserted_at":"%b",%b' % (times.rfc3339(int(inserted_ms)).encode(), b"".join(lacked))


def columns(
    stream: str, ids: Sequence[bytes], heads: Sequence[bytes], bodies: Sequence[bytes]
) -> tuple[Sequence[bytes], Sequence[bytes], Sequence[bytes]]:
    """The three pieces that follow the opening in the JSON of each message, as columns.

    All heads of a stream have as many words.
    """
    if not ids:
        return (), (), ()
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
    """The JSON of messages as delivered: each stored body, preceded by the fields that it lacks."""
    begin = opening(stream)
    return [b"".join((begin, *parts)) for parts in zip(*columns(stream, ids, heads, bodies), strict=True)]


def _from_fields(stream: str, message_id: bytes, fields_json: bytes) -> tuple[bytes, bytes]:
    """Letters and body of an event that a plain Redis client added (C55).

    If a name occurs twice, the last value counts.
    """
    # The list is JSON, but may contain bytes that are not UTF-8. Read as Latin-1, each character is one byte.
    flat = [text.encode("latin-1") for text in msgspec.json.decode(fields_json.decode("latin-1"), type=list[str])]
    named = {name: _text(value) for name, value in zip(flat[::2], flat[1::2], strict=True) if name in _NAMED}
    collection_id, upstream_id = named.get(b"collection_id", ""), named.get(b"upstream_id")
    stored = EventBody(
        collection_id=collection_id, resource_id=named.get(b"resource_id"), key=named.get(b"key", upstream_id),
        id=named.get(b"id") or str(uuid.uuid5(RECORD_IDS, f"{stream}\0{message_id.decode()}")),
        provider=provider_of(collection_id), upstream_id=upstream_id, event=named.get(b"event", "created"),
        headers=_headers(named.get(b"headers")), data=_data_of(flat),
    )  # fmt: skip
    return lacks(stored).encode(), encode(stored)


def _headers(text: str | None) -> dict[str, str] | None:
    """The JSON object of strings in a plain client's field `headers`.

    Other text is kept as one header named `headers`.
    """
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, RecursionError):
        return {"headers": text}


def _data_of(flat: Sequence[bytes]) -> msgspec.Raw:
    """The field `data` unchanged, or as a string if it is not JSON. Without it, an object of the unreserved fields.

    A name that occurs more than once has a list of its values.
    """
    values: dict[str, list[str | dict[str, str]]] = {}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        if name not in _NAMED:
            values.setdefault(_text(name), []).append(_value(value))
    if "data" not in values:
        return msgspec.Raw(encode({name: found[0] if len(found) == 1 else found for name, found in values.items()}))
    data = values["data"][-1]
    if isinstance(data, str):
        with suppress(msgspec.DecodeError, RecursionError):
            msgspec.json.decode(data, type=msgspec.Raw)  # checks only the syntax: a number may have any size
            return msgspec.Raw(data.encode())
    return msgspec.Raw(encode(data))


def _text(value: bytes) -> str:
    """Bytes as text. Bytes that are not UTF-8 become `\\xff`, so that different names stay different."""
    return value.decode("utf-8", "backslashreplace")


def _value(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}
