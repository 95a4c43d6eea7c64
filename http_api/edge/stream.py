"""The bytes of one connection: what comes is read while it is wanted, and what is sent is seen to be taken."""

import asyncio
import socket
from abc import abstractmethod

from http_api.edge.limits import Limits
from http_api.edge.timer import Phase, Timer

# All connections read into it: uvloop's own is of 256 KiB, and so much of each would be held at once.
_BUFFER = bytearray(1 << 16)
_VIEW = memoryview(_BUFFER)


class Stream(asyncio.BufferedProtocol):
    """Reading and writing under pressure, below the requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop, self._limits = loop, limits
        self._timer = Timer(loop, self._expired)
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # from connection_made on
        self._reading_paused = self._writing_paused = False
        self._ended = False  # the client sends no more
        self._unsent = 0  # bytes, when the client was seen last to read
        self._writable: asyncio.Future[None] | None = None

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Bytes have come."""

    @abstractmethod
    def _expired(self) -> None:
        """The time of the timer's phase is over."""

    @abstractmethod
    def _note(self, held: int = 0) -> None:
        """What is held for the client has changed."""

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where to put the bytes that have come; they are copied out at once."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self.data_received(bytes(_VIEW[:nbytes]))

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        self._writing_paused = True
        self._await_reader()

    def resume_writing(self) -> None:
        """It has read."""
        self._writing_paused, self._unsent = False, 0
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def write(self, *parts: bytes) -> None:
        """Send parts of an answer."""
        if not self.transport.is_closing():
            for part in parts:
                self.transport.write(part)

    async def drained(self) -> None:
        """Return when the client has read enough for more to be sent."""
        while self._writing_paused:
            self._writable = self.loop.create_future()
            await self._writable

    def is_reset(self) -> bool:
        """Whether the client, which sends no more, does not read either: it has refused what was written last."""
        link: socket.socket | None = self.transport.get_extra_info("socket")
        return link is not None and link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _pause_reading(self, paused: bool) -> bool:
        """Read, or read no more for now; gives whether that is new."""
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
        """Close when all is sent, which must not take for ever either."""
        if self.transport.get_write_buffer_size():
            self._await_reader()
        self.transport.close()
