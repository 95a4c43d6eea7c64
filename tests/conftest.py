"""Fixtures: a private Redis a session, an empty broker a test, over the library and over HTTP."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from broker import Broker, Store
from broker.access import AccessTokens, Door
from broker.embedded import Embedded
from http_api.app import create_app
from http_api.settings import Settings
from tests.support.api import Api, HttpApi, LibraryApi
from tests.support.clock import advance, shifted_scripts
from tests.support.servers import BACKENDS, running


@pytest.fixture
def anyio_backend() -> str:
    """The tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", params=BACKENDS)
def redis_server(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A private server of each kind that is there."""
    with running(request.param) as server:
        yield server


@dataclass
class Clock:
    """Redis' clock, as the scripts see it."""

    store: Store

    async def advance(self, ms: int) -> None:
        """Let time pass: deliveries grow older, and what is due becomes due."""
        await advance(self.store, ms)


@pytest.fixture
async def store(redis_server: Embedded) -> AsyncIterator[Store]:
    """An empty store."""
    store = Store.from_url(redis_server.url)
    await store.call("FLUSHALL")
    yield store
    await store.close()


@pytest.fixture
def clock(store: Store) -> Clock:
    """The clock of the test's broker."""
    return Clock(store)


@pytest.fixture
async def broker(redis_server: Embedded, store: Store) -> AsyncIterator[Broker]:
    """A broker over the empty store, behind the movable clock."""
    broker = Broker(Store.from_url(redis_server.url), scripts=shifted_scripts())
    await broker.start()
    yield broker
    await broker.close()


@pytest.fixture
async def http(broker: Broker) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the HTTP API over the test's broker."""
    tokens = AccessTokens(broker.store, door=Door())
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client
    await tokens.close()


@pytest.fixture(params=["library", "http"])
async def api(request: pytest.FixtureRequest, broker: Broker, http: httpx.AsyncClient) -> Api:
    """The broker by the library, and by HTTP."""
    return LibraryApi(broker) if request.param == "library" else HttpApi(http)
