"""Converts MessagePack to JSON of the same shape, in bounded memory: 8 MB may hold eight million values."""

import asyncio
import json
from collections.abc import Iterator

import msgpack

from broker.errors import InvalidRequest, PayloadTooLarge

# In bytes: a larger value is converted token by token, and smaller values in groups up to this size.
_LARGE = 1 << 18
_TOGETHER = 1 << 15
_DEEPEST = 1000


async def json_of(body: bytes, limit: int) -> bytes:
    """JSON of at most `limit` bytes. PayloadTooLarge. InvalidRequest: not MessagePack, or a value that JSON lacks."""
    text, rested = bytearray(), 0
    try:
        for part in _parts(memoryview(body)):
            text += part
            if len(text) > limit:
                raise PayloadTooLarge(f"The body has more than {limit} bytes when it is written as JSON.")
            if len(text) - rested > _LARGE:
                rested = len(text)
                await asyncio.sleep(0)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as exc:
        raise InvalidRequest(_unpackable(exc)) from exc
    return bytes(text)


def _parts(body: memoryview) -> Iterator[bytes]:
    """The JSON in pieces: the values of a map and of the lists in it one by one, small ones together."""
    if len(body) <= _LARGE:
        yield _dump(msgpack.unpackb(body, strict_map_key=True))
        return
    unpacker = _unpacker(body)
    if _container(body[0]) == "map":
        for i in range(unpacker.read_map_header()):
            yield b"%b%b:" % (b"," if i else b"{", _key(unpacker))
            yield from (_list(unpacker, body) if _container(_ahead(unpacker, body)) == "array" else _value(unpacker, body))
        yield b"}"
    else:
        yield from _value(unpacker, body)
    if unpacker.tell() != len(body):
        raise ValueError


def _list(unpacker: msgpack.Unpacker, body: memoryview) -> Iterator[bytes]:
    yield b"["
    comma, count = b"", 0
    left = unpacker.read_array_header()
    start = end = unpacker.tell()
    while left:
        at, left = end, left - 1
        unpacker.skip()
        end = unpacker.tell()
        if end - at > _LARGE:
            if count:
                yield comma + _several(body[start:at], count)
                comma = b","
            yield comma
            yield from _tokens(body[at:end])
            start, comma, count = end, b",", 0
            continue
        count += 1
        if not left or end - start > _TOGETHER:
            yield comma + _several(body[start:end], count)
            start, comma, count = end, b",", 0
    yield b"]"


def _several(packed: memoryview, count: int) -> bytes:
    return _dump(msgpack.unpackb(b"".join((b"\xdd", count.to_bytes(4), packed)), strict_map_key=True))[1:-1]


def _value(unpacker: msgpack.Unpacker, body: memoryview) -> Iterator[bytes]:
    at = unpacker.tell()
    unpacker.skip()
    yield from _tokens(body[at : unpacker.tell()])


def _tokens(body: memoryview) -> Iterator[bytes]:
    """The JSON of one value, token by token, which is slower."""
    unpacker = _unpacker(body)
    open_: list[tuple[int, bytes]] = []  # of each container: how many values remain, and its closing bracket
    comma = b""
    while True:
        kind = _container(_ahead(unpacker, body))
        is_key = bool(open_) and open_[-1][1] == b"}" and open_[-1][0] % 2 == 0
        if is_key:
            yield b"%b%b:" % (comma, _key(unpacker))
            comma = b""
        elif kind is None:
            yield comma + _dump(unpacker.unpack())
            comma = b","
        else:
            yield comma + (b"[" if kind == "array" else b"{")
            count = unpacker.read_array_header() + 1 if kind == "array" else 2 * unpacker.read_map_header() + 1
            open_.append((count, b"]" if kind == "array" else b"}"))
            comma = b""
            if len(open_) > _DEEPEST:
                raise RecursionError
        while open_:
            left, end = open_.pop()
            if left > 1:
                open_.append((left - 1, end))
                break
            yield end
            comma = b","
        if not open_:
            return


def _unpacker(body: memoryview) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(None, max_buffer_size=len(body))
    unpacker.feed(body)
    return unpacker


def _ahead(unpacker: msgpack.Unpacker, body: memoryview) -> int:
    at: int = unpacker.tell()
    if at >= len(body):
        raise msgpack.OutOfData
    return body[at]


def _container(first: int) -> str | None:
    """The kind of container, by its first byte; None: not a container."""
    if first >> 4 == 9 or first in (0xDC, 0xDD):
        return "array"
    return "map" if first >> 4 == 8 or first in (0xDE, 0xDF) else None


def _key(unpacker: msgpack.Unpacker) -> bytes:
    key = unpacker.unpack()
    if not isinstance(key, str):
        raise TypeError("map key")
    return _dump(key)


def _dump(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _unpackable(error: Exception) -> str:
    """An error text about the body; those of the libraries are about their settings."""
    words = str(error)
    if isinstance(error, UnicodeError):
        return "The body is MessagePack with a string that is not valid UTF-8."
    if isinstance(error, msgpack.StackError | RecursionError):
        return "The body is nested too deeply."
    if "map key" in words or "keys must be" in words:
        return "The body is MessagePack with a map whose keys are not all strings."
    if "JSON serializable" in words:
        return "The body is MessagePack with binary data or an extension type, which JSON has not."
    if "Out of range float" in words:
        return "The body is MessagePack with a number that is not finite, which JSON has not."
    return "The body is not valid MessagePack."
