"""The tests of the edge speak by raw sockets to a server in their own process, on both event loops."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from broker import Broker
from tests.support.servers import BACKENDS, PrivateServer, running
from tests.support.wire import Edge, edge


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Both event loops: uvloop, and the one of systems that have none."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateServer]:
    """One kind of store: the edge does not know of it."""
    with running(BACKENDS[0]) as server:
        yield server


@pytest.fixture
async def server(broker: Broker) -> AsyncIterator[Edge]:
    """A server with the limits that users have."""
    async with edge(broker) as found:
        yield found
