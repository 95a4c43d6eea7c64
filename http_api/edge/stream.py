"""Byte stream of a connection: backpressure on reading, and a time limit for clients that do not read."""

import asyncio
import socket
from abc import abstractmethod

from http_api.edge.limits import Limits
from http_api.edge.timer import Phase, Timer

# Shared by all connections: uvloop would allocate 256 KiB for each of them.
_BUFFER = bytearray(1 << 16)
_VIEW = memoryview(_BUFFER)


class Stream(asyncio.BufferedProtocol):
    """Reads and writes bytes under backpressure. Knows nothing of requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop, self._limits = loop, limits
        self._timer = Timer(loop, self._expired)
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # from connection_made on
        self._reading_paused = self._writing_paused = False
        self._ended = False  # the client has finished sending
        self._unsent = 0  # bytes that were unsent when the client last read
        self._dropped = 0  # bytes that were read in vain
        self._writable: asyncio.Future[None] | None = None

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""

    @abstractmethod
    def _expired(self) -> None:
        """The time of the timer's phase is over."""

    @abstractmethod
    def cut(self) -> None:
        """Close at once."""

    @abstractmethod
    def _note(self, held: int = 0) -> None:
        """The memory held for the client has changed."""

    def get_buffer(self, sizehint: int) -> bytearray:
        """The buffer for arriving bytes, which are copied out at once."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived in the buffer."""
        self.data_received(bytes(_VIEW[:nbytes]))

    def _drop(self, size: int) -> None:
        """Count bytes of a refused body, up to the limit."""
        self._dropped += size
        if self._dropped > self._limits.dropped_bytes:
            self.cut()

    def pause_writing(self) -> None:
        """The client reads more slowly than the server writes."""
        self._writing_paused = True
        self._await_reader()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writing_paused, self._unsent = False, 0
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def write(self, *parts: bytes) -> None:
        """Send parts of an answer."""
        if not self.transport.is_closing():
            for part in parts:
                self.transport.write(part)

    async def drained(self) -> None:
        """Return when the client has read enough to send more."""
        while self._writing_paused:
            self._writable = self.loop.create_future()
            await self._writable

    def is_reset(self) -> bool:
        """Whether a client that has finished sending does not read either: it has refused the last write."""
        link: socket.socket | None = self.transport.get_extra_info("socket")
        return link is not None and link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _pause_reading(self, paused: bool) -> bool:
        """Pause or resume reading. Returns whether anything changed."""
        if paused == self._reading_paused or self._ended:
            return False
        self._reading_paused = paused
        if paused:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
        return True

    def _await_reader(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._note()
        self._timer.set(Phase.READER, self._limits.reader_s)

    def _has_read(self) -> bool:
        return self.transport.get_write_buffer_size() < self._unsent

    def _close(self) -> None:
        """Close when everything is sent, within the time limit of a reader."""
        if self.transport.get_write_buffer_size():
            self._await_reader()
        self.transport.close()
