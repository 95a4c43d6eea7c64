"""HTTP load for the comparison: a lean client, and loops that publish, pull and wait."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import msgspec

CONNECTIONS = 4
BODY = {"collection_id": "bench:one", "data": {"text": "x" * 300}}


class _Row(msgspec.Struct):
    ack_token: str
    event: msgspec.Raw


class _Batch(msgspec.Struct):
    data: list[_Row]


_decode = msgspec.json.Decoder(_Batch).decode


class Connection:
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to `http://host:port`."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port), limit=1 << 24))

    async def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer. RuntimeError: the answer is an error."""
        head = f"{method} /v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(lines.split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not lines.startswith(b"http/1.1 20"):
            raise RuntimeError(answer.decode())
        return answer

    async def send(self, method: str, path: str, **fields: Any) -> Any:
        """The same with JSON values."""
        return json.loads(await self.call(method, path, json.dumps(fields).encode()))

    def close(self) -> None:
        """Close it."""
        self._writer.close()


async def publish(url: str, stream: str, seconds: float, batch: int = 100) -> float:
    """Messages/s published in requests of `batch` messages."""
    body = json.dumps({"messages": [BODY] * batch}).encode()

    async def one(until: float) -> int:
        connection, done = await Connection.open(url), 0
        while time.perf_counter() < until:
            await connection.call("POST", f"/streams/{stream}/messages", body)
            done += batch
        connection.close()
        return done

    return await _rate(one, seconds)


async def pull(url: str, consumer: str, batch: int, seconds: float, *, together: bool = False) -> float:
    """Messages/s pulled and acked. `together`: the next fetch carries the acks."""
    path = f"/http-consumers/{consumer}"

    async def one(until: float) -> int:
        connection, done = await Connection.open(url), 0
        acks: list[str] = []
        while time.perf_counter() < until:
            if together:
                answer = await connection.call("POST", path + "/next", msgspec.json.encode({"batch_size": batch, "ack": acks}))
            else:
                answer = await connection.call("GET", f"{path}/next?batch_size={batch}")
            acks = [row.ack_token for row in _decode(answer).data]
            if not acks:
                break
            done += len(acks)
            if not together:
                await connection.call("POST", path + "/ack", msgspec.json.encode({"ack_tokens": acks}))
        connection.close()
        return done

    return await _rate(one, seconds)


def publishing(connection: Connection, stream: str) -> Callable[[], Awaitable[object]]:
    """A publish of one message on a connection."""
    body = json.dumps({"messages": [BODY]}).encode()
    return lambda: connection.call("POST", f"/streams/{stream}/messages", body)


async def wake(url: str, consumer: str, publish: Callable[[], Awaitable[object]], rounds: int = 200) -> list[float]:
    """Milliseconds from the start of a publish to the answer of a waiting call, sorted."""
    waiting, found = await Connection.open(url), []
    for _ in range(rounds):
        call = asyncio.ensure_future(waiting.call("GET", f"/http-consumers/{consumer}/next?wait_for=30s"))
        await asyncio.sleep(0.02)
        start = time.perf_counter()
        published = asyncio.ensure_future(publish())
        [row] = _decode(await call).data
        found.append((time.perf_counter() - start) * 1000)
        await published
        await waiting.send("POST", f"/http-consumers/{consumer}/ack", ack_tokens=[row.ack_token])
    waiting.close()
    return sorted(found)


async def _rate(one: Any, seconds: float) -> float:
    start = time.perf_counter()
    done = await asyncio.gather(*(one(start + seconds) for _ in range(CONNECTIONS)))
    return float(sum(done) / (time.perf_counter() - start))
