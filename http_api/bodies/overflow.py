"""Bytes of any length between work and answer: in memory to begin with, then on disk, and in memory again where the disk takes none."""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

_PIECE = 1 << 16


class Overflow:
    """Written from front to end, then read once. Nothing that was taken is lost to a disk that is missing, read-only or full."""

    def __init__(self, in_memory: int = 1 << 20) -> None:
        self._limit = in_memory
        self._parts: list[bytes] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._on_disk = 0
        self._disk_takes = True

    def __len__(self) -> int:
        return self._on_disk + self._held

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self._parts.append(data)
        self._held += len(data)
        if self._held > self._limit and self._disk_takes:
            try:
                self._to_disk()
            except OSError:
                self._disk_takes = False  # what a write left beyond `_on_disk` is in memory still

    def _to_disk(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - until `close`
        text = memoryview(b"".join(self._parts))
        self._file.seek(self._on_disk)
        while text:
            text = text[self._file.write(text) :]
        self._on_disk += self._held
        self._parts, self._held = [], 0

    def pieces(self) -> Iterator[bytes]:
        """All of it, in order."""
        if self._file is not None:
            self._file.seek(0)
            left = self._on_disk
            while left and (piece := self._file.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
        yield from self._parts

    def close(self) -> None:
        """Give the disk back what it lent."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
