"""C52: no client can make a server grow by 100 MB, by what it sends or by what it does not read."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.processes import ServeProcess, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not tell what a process holds"),
]
KIB, MIB = 1 << 10, 1 << 20
BOUND = 100 * MIB


@pytest.fixture
def anyio_backend() -> str:
    """The event loop is the client's here."""
    return "asyncio"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server with pages of 8 MiB to read, and a consumer."""
    with serving("--port", "0", "--data-dir", str(tmp_path_factory.mktemp("d") / "d")) as found:
        with httpx.Client(base_url=found.url) as client:
            for _ in range(20):
                message = {"collection_id": "a:b", "data": "x" * 900_000}
                client.post("/v1/streams/events/messages", json={"messages": [message]}).raise_for_status()
            client.post("/v1/http-consumers", json={"name": "c", "stream_id": "records"}).raise_for_status()
            client.post("/v1/http-consumers", json={"name": "e", "stream_id": "events"}).raise_for_status()
            client.get("/v1/streams/events/messages").raise_for_status()
        yield found


@pytest.fixture(scope="module")
def at_rest(server: ServeProcess) -> int:
    """Bytes of memory before anything."""
    return held(server, "VmRSS")


def held(server: ServeProcess, row: str) -> int:
    """Bytes of memory: VmRSS now, VmHWM at most."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.split(f"{row}:")[1].split()[0]) * KIB


def reset_peak(server: ServeProcess) -> None:
    """The most that it holds counts from now on."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


@asynccontextmanager
async def connection(server: ServeProcess) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.setblocking(False)
    with link:
        await asyncio.get_running_loop().sock_connect(link, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=link, limit=1 << 16)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def pour(server: ServeProcess, connections: int, first: bytes, part: bytes = b"", parts: int = 0) -> None:
    """Send this on so many connections as far as the server takes it, and read nothing. Others are answered."""
    async with AsyncExitStack() as stack:

        async def send(writer: asyncio.StreamWriter) -> None:
            writer.write(first)
            for _ in range(parts):
                writer.write(part)
                await asyncio.wait_for(writer.drain(), 1)

        pairs = [await stack.enter_async_context(connection(server)) for _ in range(connections)]
        await asyncio.gather(*(send(writer) for _, writer in pairs), return_exceptions=True)
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            for _ in range(3):
                assert (await client.get("/v1/streams/records")).status_code == 200


async def ask(server: ServeProcess, requests: int, make: Callable[[int], bytes]) -> None:
    """Ask one by one, and read the answers."""
    async with connection(server) as (reader, writer):
        for n in range(requests):
            writer.write(make(n))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def post(path: str, length: str, kind: str = "json") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: application/{kind}", length, "", "")
    return "\r\n".join(lines).encode()


PUBLISH = "/v1/streams/events/messages"
LINE = json.dumps({"collection_id": "a:b", "data": "x"}).encode()
LONG = LINE[:-2] + b"x" * 4000 + LINE[-2:] + b"\n"
CHUNKS = post(PUBLISH, "Transfer-Encoding: chunked")
LINES = post(PUBLISH, "Transfer-Encoding: chunked", "x-ndjson")
WAIT = "/v1/http-consumers/c/next?wait_for=5m"
Attack = Callable[[ServeProcess], Awaitable[None]]
ATTACKS: dict[str, Attack] = {
    "a header without end": lambda s: pour(s, 1, get("/v1/x")[:-2] + b"X: ", b"y" * MIB, 200),
    "headers that do not end": lambda s: pour(s, 600, get("/v1/x")[:-2] + b"X: ", b"y" * 30_000, 2),
    "many headers": lambda s: pour(s, 300, get("/v1/x")[:-2] + b"a:b\r\n" * 12_000),
    "addresses that do not end": lambda s: pour(s, 600, b"GET /" + b"x" * 32_000),
    "other paths": lambda s: ask(s, 1500, lambda n: get(f"/v1/streams/{n}{'x' * 30_000}")),
    "other queries": lambda s: ask(s, 1500, lambda n: get(f"/v1/http-consumers/c/next?x={n}{'x' * 30_000}")),
    "other tastes": lambda s: ask(s, 800, lambda n: get("/v1/streams/records", f"Accept: a/{n}{'x' * 60_000}")),
    "other tokens": lambda s: ask(s, 800, lambda n: get("/v1/streams/x", f"Authorization: Bearer {n}{'x' * 60_000}")),
    "a pipeline": lambda s: pour(s, 1, get("/v1/x"), get("/v1/x") * 10_000, 200),
    "pipelines": lambda s: pour(s, 300, get("/v1/x"), get("/v1/x") * 10_000, 20),
    "pipelines after a chunked body": lambda s: pour(
        s, 300, CHUNKS + b"2\r\n{}\r\n0\r\n\r\n" + get("/v1/x") * 10_000
    ),
    "pipelines after a waiting call": lambda s: pour(s, 300, get(WAIT) + get("/v1/x") * 10_000),
    "slow readers": lambda s: pour(s, 40, get(PUBLISH)),
    "slow readers of peek": lambda s: pour(s, 40, get("/v1/http-consumers/e/peek?limit=1000")),
    "slow readers of the description": lambda s: pour(s, 300, get("/openapi.json") * 40),
    "slow bodies": lambda s: pour(s, 60, post(PUBLISH, f"Content-Length: {8 * MIB}"), b"x" * MIB, 7),
    "slow chunks": lambda s: pour(s, 60, CHUNKS, b"100000\r\n" + b"x" * MIB + b"\r\n", 7),
    "slow packed bodies": lambda s: pour(s, 60, post(PUBLISH, f"Content-Length: {8 * MIB}", "msgpack"), b"x" * MIB, 7),
    "slow readers of next": lambda s: pour(s, 40, get("/v1/http-consumers/e/next?batch_size=1000")),
    "waiting calls with large heads": lambda s: pour(
        s, 500, get(WAIT, *[f"a{n}: {'b' * 50}" for n in range(900)])
    ),
    "slow short lines": lambda s: pour(s, 200, LINES, b"%x\r\n%b\r\n" % (240 * len(LONG), LONG * 240), 1),
    "slow lines": lambda s: pour(s, 300, LINES, b"80000\r\n" + b"x" * (MIB // 2) + b"\r\n", 2),
    "trailers without end": lambda s: pour(
        s, 300, CHUNKS + b"2\r\n{}\r\n0\r\nX: ", b"y" * 30_000, 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
async def test_c52_no_client_makes_the_server_grow_by_100_mb(server: ServeProcess, at_rest: int, attack: Attack) -> None:
    before = held(server, "VmRSS")
    reset_peak(server)
    await attack(server)
    assert held(server, "VmHWM") - before < BOUND
    assert held(server, "VmHWM") - at_rest < 2 * BOUND  # nothing is kept from one to the next
