"""Converts JSON to MessagePack of the same shape.

It accepts any JSON: an answer of `next` must not fail once its messages are delivered (C20).
"""

import json
import re

import msgpack
import msgspec

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]|[^\s\[\]{},:"]++')
_LARGE = 1 << 18
_ANSWER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_WORDS = {"true": True, "false": False, "null": None}


def pack(body: bytes) -> bytes:
    """MessagePack of valid JSON. Integers over 64 bits become floats; numbers too large for a float become infinity."""
    if len(body) > _LARGE and body[:9] == b'{"data":[':
        return _pack_rows(body)
    try:
        packed: bytes = msgpack.packb(json.loads(body), unicode_errors="surrogatepass")
    except (ValueError, OverflowError, RecursionError):
        # An integer that is too large, a number with too many digits, or nesting too deep for a recursive parser.
        packed = _pack_by_tokens(body.decode("utf-8", "replace"))
    return packed


def _pack_rows(body: bytes) -> bytes:
    """Pack a large answer row by row: as Python objects, all rows together may take a hundred times their size."""
    try:
        answer = _ANSWER.decode(body)
        rows = _ROWS.decode(answer["data"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _pack_by_tokens(body.decode("utf-8", "replace"))
    packer = msgpack.Packer()
    parts = [packer.pack_map_header(len(answer))]
    for name, value in answer.items():
        parts.append(packer.pack(name))
        if name == "data":
            parts.append(packer.pack_array_header(len(rows)))
            parts += (pack(bytes(row)) for row in rows)
        else:
            parts.append(pack(bytes(value)))
    return b"".join(parts)


def _pack_by_tokens(text: str) -> bytes:
    """Pack in one pass over the tokens, which is slower: a container gets its head when its end is reached."""
    packer = msgpack.Packer(unicode_errors="surrogatepass")
    parts: list[bytes] = []
    counts, heads = [0], [0]  # of each open container: the number of values so far, and the place of its head
    for match in _TOKEN.finditer(text):
        word = match[0]
        if word in ("]", "}"):
            count, head = counts.pop(), heads.pop()
            parts[head] = packer.pack_array_header(count) if word == "]" else packer.pack_map_header(count // 2)
            continue
        counts[-1] += 1
        if word in ("[", "{"):
            counts.append(0)
            heads.append(len(parts))
            parts.append(b"")
        else:
            parts.append(packer.pack(_scalar(word)))
    return b"".join(parts)


def _scalar(token: str) -> object:
    if token[0] == '"':
        return json.loads(token, strict=False)
    if token in _WORDS:
        return _WORDS[token]
    if token.lstrip("-").isdigit() and len(token) <= 20:
        number = int(token)
        if -(1 << 63) <= number < 1 << 64:
            return number
    return float(token)
