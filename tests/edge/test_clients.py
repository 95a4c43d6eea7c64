"""C52: clients as they are, with what they send by default."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.wire import Edge

pytestmark = pytest.mark.anyio

EVENTS = '{"messages":[{"collection_id":"a:b","data":1},{"collection_id":"a:b","data":2}]}'


@pytest.fixture
def anyio_backend() -> str:
    """A child process is waited for: one event loop is enough."""
    return "asyncio"


async def run(*command: str) -> str:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")
async def test_c52_javas_http_client(server: Edge) -> None:
    out = await run("java", str(Path(__file__).with_name("Offers.java")), f"http://localhost:{server.port}")
    assert out.split("\n") == ["HTTP_1_1 200 true"] * 3 + ["true"] * 3 + [""]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(
    "options", [(), ("--http2",), ("--http1.0",), ("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked")]
)
async def test_c52_curl(server: Edge, options: tuple[str, ...]) -> None:
    url = f"http://localhost:{server.port}/v1/streams/events/messages"
    out = await run("curl", "-s", *options, "-H", "Content-Type: application/json", "-d", EVENTS, url)
    assert '"info":{"created":2}' in out
