"""A proxy in front of Redis that loses connections at the worst moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Proxy:
    """Forwards a unix socket. Armed, it cuts the connection when the next command with `word` comes.

    `deliver` tells whether Redis still gets that command.
    """

    def __init__(self, upstream: Path) -> None:
        self._upstream = upstream
        self._word: bytes | None = None
        self._deliver = False
        self._tasks: set[asyncio.Task[None]] = set()

    def cut_at(self, word: bytes, *, deliver: bool) -> None:
        """Arm it."""
        self._word, self._deliver = word, deliver

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._upstream))
        except OSError:  # it is down
            writer.close()
            return
        back = asyncio.create_task(self._pump(up_reader, writer))
        try:
            while data := await reader.read(1 << 16):
                if self._word is not None and self._word in data:
                    self._word = None
                    if self._deliver:
                        back.cancel()
                        await asyncio.gather(back, return_exceptions=True)
                        up_writer.write(data)
                        await up_reader.read(1)
                    break
                up_writer.write(data)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.cancel()
            for end in (writer, up_writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    async def close(self) -> None:
        """Cut all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy(upstream: Path) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy, and the URL by which Redis is reached through it."""
    found = Proxy(upstream)
    path = upstream.parent / "proxy.sock"
    server = await asyncio.start_unix_server(found.serve, path)
    try:
        yield found, f"unix://{path}"
    finally:
        server.close()
        await found.close()
        path.unlink(missing_ok=True)  # from Python 3.13 on, closing the server does it
