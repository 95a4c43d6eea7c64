"""Fixtures: a private Redis a session, an empty broker a test, over the library, over functions and over HTTP."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import lru_cache

import httpx
import pytest

from broker import Broker, Store
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.settings import Settings
from tests.support.api import Api, HttpApi
from tests.support.clock import advance, shifted_library, shifted_scripts
from tests.support.cluster import Cluster
from tests.support.command_line import started
from tests.support.functions import broker_by_functions, load_library
from tests.support.library_api import LibraryApi
from tests.support.processes import ServeProcess
from tests.support.servers import BACKENDS, PrivateServer, running

# `httpx.get` and its like read all certificates of the system, 23 ms of CPU for each call. One reading serves all.
httpx._transports.default.create_ssl_context = lru_cache(httpx.create_ssl_context)  # type: ignore[attr-defined]

# httpx looks for this module at each request to an application; to look for one that is not there takes 40 us.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]

# Containers and CI set these, users do not. The first hides output that comes late or in the wrong order. With the
# second, each of some 400 processes compiles all of its modules: 1.7 s of CPU for a server instead of 0.5 s.
for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(name, None)

# Servers need not import all of their modules: 0.4 of 0.5 s of CPU for each.
ServeProcess.start = staticmethod(started)


@pytest.fixture
def anyio_backend() -> str:
    """The tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", params=BACKENDS)
def redis_server(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A private server of each kind that is there."""
    with running(request.param) as server:
        load_library(server.url, shifted_library())  # FLUSHALL leaves it
        yield server


@dataclass
class Clock:
    """Redis' clock, as the scripts see it."""

    store: Store
    clustered: bool

    async def advance(self, ms: int) -> None:
        """Let time pass: deliveries grow older, and what is due becomes due."""
        await advance(self.store, ms, self.clustered)


@pytest.fixture
def clustered(redis_server: PrivateServer | Cluster) -> bool:
    """Whether the Redis is a cluster."""
    return isinstance(redis_server, Cluster)


@pytest.fixture
def empty_url(redis_server: PrivateServer | Cluster) -> str:
    """The URL of a Redis that holds nothing."""
    redis_server.empty()
    return redis_server.url


@pytest.fixture
async def store(empty_url: str) -> AsyncIterator[Store]:
    """A store of the test's own over the Redis of its broker."""
    store = Store.from_url(empty_url)
    yield store
    await store.close()


@pytest.fixture
def clock(broker: Broker, clustered: bool) -> Clock:
    """The clock of the test's broker."""
    return Clock(broker.store, clustered)


@pytest.fixture
async def broker(empty_url: str, clustered: bool) -> AsyncIterator[Broker]:
    """A broker over the empty store, with the movable clock."""
    broker = Broker(Store.from_url(empty_url), scripts=shifted_scripts(clustered))
    await broker.start()
    yield broker
    await broker.close()


@pytest.fixture
async def http(broker: Broker) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the HTTP API over the test's broker."""
    tokens = AccessTokens(broker.store, open_mode=OpenMode())
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    await tokens.close()


@pytest.fixture
async def function_broker(empty_url: str, broker: Broker) -> AsyncIterator[Broker]:
    """Another broker over the same store, which calls functions instead of scripts."""
    other = broker_by_functions(empty_url)
    yield other
    await other.close()


@pytest.fixture(params=["library", "http", "functions"])
def api(request: pytest.FixtureRequest, broker: Broker) -> Api:
    """The broker by the library, by HTTP, and by the library over functions.

    Only what is needed for that is started.
    """
    if request.param == "http":
        return HttpApi(request.getfixturevalue("http"))
    return LibraryApi(broker if request.param == "library" else request.getfixturevalue("function_broker"))
