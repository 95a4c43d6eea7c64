"""Clients that send a body byte by byte, and clients that do not read their answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


async def _slow_sender(url: str, path: str, done: asyncio.Event) -> bytes:
    """Send a body byte by byte until the event is set. Returns the answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"messages": [{"collection_id": "a:b", "data": "x" * 1000}]}).encode()
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}", "", "")
    writer.write("\r\n".join(lines).encode())
    while body and not done.is_set():
        writer.write(body[:1])
        body = body[1:]
        await asyncio.sleep(0.02)
    writer.write(body)
    answer = await reader.readuntil(b"\r\n")
    writer.close()
    return answer


async def _slow_reader(url: str, path: str, done: asyncio.Event) -> Any:
    """Read a long answer only after the event is set. Returns it."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    await done.wait()
    _, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    return json.loads(body)


@asynccontextmanager
async def slow(url: str, name: str) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Ten clients that send slowly and ten that read slowly, for as long as the block goes on."""
    done = asyncio.Event()
    sending = [asyncio.create_task(_slow_sender(url, f"/v1/streams/{name}/messages", done)) for _ in range(10)]
    listing = f"/v1/streams/{name}/messages?limit=1000"
    reading = [asyncio.create_task(_slow_reader(url, listing, done)) for _ in range(9)]
    fetching = asyncio.create_task(_slow_reader(url, f"/v1/http-consumers/{name}/next?batch_size=1000", done))
    yield [*sending, *reading, fetching]
    done.set()
