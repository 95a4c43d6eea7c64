"""Fixtures: a private Redis a session, an empty broker a test, over the library, over functions and over HTTP."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from broker import Broker, Store
from broker.access.tokens import AccessTokens, OpenMode
from broker.store.embedded import Embedded
from http_api.app import create_app
from http_api.settings import Settings
from tests.support.api import Api, HttpApi, LibraryApi
from tests.support.clock import advance, shifted_library, shifted_scripts
from tests.support.cluster import Cluster
from tests.support.functions import broker_by_functions, load_library
from tests.support.servers import BACKENDS, everywhere, running


@pytest.fixture
def anyio_backend() -> str:
    """The tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", params=BACKENDS)
def redis_server(request: pytest.FixtureRequest) -> Iterator[Embedded]:
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
def clustered(redis_server: Embedded | Cluster) -> bool:
    """Whether the Redis is a cluster."""
    return isinstance(redis_server, Cluster)


@pytest.fixture
async def store(redis_server: Embedded | Cluster) -> AsyncIterator[Store]:
    """An empty store."""
    store = Store.from_url(redis_server.url)
    await everywhere(store, "FLUSHALL")
    yield store
    await store.close()


@pytest.fixture
def clock(store: Store, clustered: bool) -> Clock:
    """The clock of the test's broker."""
    return Clock(store, clustered)


@pytest.fixture
async def broker(redis_server: Embedded | Cluster, store: Store, clustered: bool) -> AsyncIterator[Broker]:
    """A broker over the empty store, behind the movable clock."""
    broker = Broker(Store.from_url(redis_server.url), scripts=shifted_scripts(clustered))
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
async def function_broker(redis_server: Embedded | Cluster, broker: Broker) -> AsyncIterator[Broker]:
    """Another broker over the same store, which calls functions in place of scripts."""
    other = broker_by_functions(redis_server.url)
    yield other
    await other.close()


@pytest.fixture(params=["library", "http", "functions"])
async def api(request: pytest.FixtureRequest, broker: Broker, function_broker: Broker, http: httpx.AsyncClient) -> Api:
    """The broker by the library, by HTTP, and by the library over functions."""
    if request.param == "http":
        return HttpApi(http)
    return LibraryApi(broker if request.param == "library" else function_broker)
