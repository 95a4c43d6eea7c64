"""`broker publish`: publish a file of messages to a stream."""

import contextlib
import re
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO

import click
import msgspec

from http_api.cli.client import Client, Refused, at_server
from http_api.cli.options import STREAM

_CHUNK_LINES = 1000
_CHUNK_BYTES = 4 << 20
_BAR = 30


@click.command()
@STREAM
@click.argument("file")
@at_server
def publish(client: Client, stream: str, file: str) -> None:
    """Publish a file to a stream.

    FILE is NDJSON or a JSON list of messages, - = standard input. Prints what became of the messages.
    """
    counts: Counter[str] = Counter()
    with _open(file) as (source, size):
        progress = _Progress(size)
        path = f"/v1/streams/{stream}/messages"
        chunk = None
        for chunk in _chunks(source):
            counts.update(_publish_chunk(client, path, chunk, sum(counts.values())))
            progress.show(chunk.read_so_far, sum(counts.values()))
        if chunk is None:
            _publish_chunk(client, path, _Chunk([], 1, 0), 0)  # nothing to publish, but the stream must exist
        progress.end()
    total = sum(counts.values())
    print(f"{total} messages: " + (", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "nothing to publish"))


class _Answer(msgspec.Struct):
    info: dict[str, int]


class _Chunk(msgspec.Struct):
    lines: list[bytes]
    first_line: int | None  # None: the input is one JSON list, not lines
    read_so_far: int


@contextlib.contextmanager
def _open(name: str) -> Iterator[tuple[IO[bytes], int | None]]:
    if name == "-":
        if sys.stdin is None:
            raise Refused("standard input is closed")
        yield sys.stdin.buffer, None
        return
    try:
        with Path(name).open("rb") as source:
            yield source, Path(name).stat().st_size
    except OSError as exc:
        raise Refused(f"{name}: {exc.strerror}") from exc


def _chunks(source: IO[bytes]) -> Iterator[_Chunk]:
    head = [source.readline().removeprefix(BOM_UTF8)]
    while head[-1] and not head[-1].strip():
        head.append(source.readline())
    if head[-1].lstrip().startswith(b"["):
        yield from _list_chunks(head[-1] + source.read())
        return
    chunk, size, read = _Chunk([], 1, 0), 0, 0
    for number, line in enumerate(chain(filter(None, head), source), 1):
        read += len(line)
        chunk.lines.append(line.rstrip(b"\n"))
        size += len(line)
        if len(chunk.lines) >= _CHUNK_LINES or size >= _CHUNK_BYTES:
            chunk.read_so_far = read
            yield chunk
            chunk, size = _Chunk([], number + 1, read), 0
    if chunk.lines:
        chunk.read_so_far = read
        yield chunk


def _list_chunks(text: bytes) -> Iterator[_Chunk]:
    try:
        messages = [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
    except msgspec.DecodeError as exc:
        raise Refused(f"the file begins like a JSON list and is none: {exc}") from exc
    start = 0
    while start < len(messages):
        end, size = start, 0
        while end < len(messages) and end - start < _CHUNK_LINES and (end == start or size + len(messages[end]) < _CHUNK_BYTES):
            size += len(messages[end])
            end += 1
        yield _Chunk(messages[start:end], None, len(text) * end // len(messages))
        start = end


def _publish_chunk(client: Client, path: str, chunk: _Chunk, done: int) -> Counter[str]:
    if chunk.first_line is None:
        content, kind = b'{"messages":[' + b",".join(chunk.lines) + b"]}", "application/json"
    else:
        content, kind = b"\n".join(chunk.lines), "application/x-ndjson"
    try:
        answer = client.read("POST", path, _Answer, content=content, headers={"Content-Type": kind})
    except Refused as exc:
        raise Refused(_renumber(str(exc), chunk, done)) from exc
    return Counter(answer.info)


def _renumber(text: str, chunk: _Chunk, done: int) -> str:
    """Convert positions in an error from the chunk, which the server saw, to the file."""
    first = chunk.first_line
    if first is None:
        return re.sub(r"messages\[(\d+)\]", lambda m: f"messages[{int(m[1]) + done}]", text)
    text = re.sub(r"line\[(\d+)\]", lambda m: f"line[{int(m[1]) + first - 1}]", text)
    return re.sub(r"(\d+) messages? before it (is|are)", lambda m: f"{int(m[1]) + done} messages before it are", text)


class _Progress:
    """A bar on standard error, on a terminal only."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._on = sys.stderr.isatty()

    def show(self, read: int, messages: int) -> None:
        if not self._on:
            return
        if self._size:
            filled = _BAR * min(read, self._size) // self._size
            bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] {100 * min(read, self._size) // self._size:3d} %  "
        else:
            bar = ""
        sys.stderr.write(f"\r{bar}{messages} messages")
        sys.stderr.flush()

    def end(self) -> None:
        if self._on:
            sys.stderr.write("\r\033[K")
