"""A connection to Redis: when a server counts as silent, and what that means for other connections to it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from broker import Store
from broker.errors import OutcomeUnknown
from broker.store.embedded import Embedded
from tests.support.servers import running

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    """A server that is stopped now and then."""
    with running("valkey") as server:
        yield server


@asynccontextmanager
async def store_at(server: Embedded, timeout: float) -> AsyncIterator[Store]:
    """A store that is connected; a reply may take so many seconds."""
    store = Store.from_url(server.url, timeout=timeout)
    await store.call("PING")
    yield store
    await store.close()


async def test_answers_that_came_while_the_process_was_stopped_are_read_before_it_judges(server: Embedded) -> None:
    async with store_at(server, 60) as other:
        await other.call("SET", "large", bytes(1 << 24))  # more than one read takes from the socket
    async with store_at(server, 0.2) as store:
        call = asyncio.create_task(store.call("GET", "large"))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - as a SIGSTOP does
        assert len(await call) == 1 << 24


async def test_a_server_that_is_silent_on_one_connection_is_gone_on_all(server: Embedded) -> None:
    async with store_at(server, 0.2) as store:
        reader = store.separate(blocks_s=600)
        await reader.call("PING")
        reading = asyncio.create_task(reader.call("XREAD", "BLOCK", 600_000, "STREAMS", "none", "$"))
        await asyncio.sleep(0)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(OutcomeUnknown):
                await store.call("PING")
            with pytest.raises(OutcomeUnknown):
                await reading
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await reader.call("PING") == await store.call("PING") == b"PONG"
        await reader.close()
