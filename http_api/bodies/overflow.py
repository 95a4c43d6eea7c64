"""Buffer for a long answer: in memory at first, then on disk, and in memory again if the disk is full."""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

_PIECE = 1 << 16


class Overflow:
    """A buffer that is written in order, then read once.

    No bytes are lost if the disk is missing, read-only or full.
    """

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
        """Append bytes."""
        self._parts.append(data)
        self._held += len(data)
        if self._held > self._limit and self._disk_takes:
            try:
                self._to_disk()
            except OSError:
                self._disk_takes = False  # bytes beyond `_on_disk` are still in memory

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
        """The contents, in order."""
        if self._file is not None:
            self._file.seek(0)
            left = self._on_disk
            while left and (piece := self._file.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
        yield from self._parts

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
