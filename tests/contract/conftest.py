"""The contract's tests run on each kind of server, and on a cluster of six."""

from collections.abc import AsyncIterator, Iterator

import pytest

from broker import Broker, Store
from tests.contract.measuring import ROOM
from tests.support.clock import shifted_library, shifted_scripts
from tests.support.cluster import Cluster, running_cluster
from tests.support.functions import load_library
from tests.support.servers import BACKENDS, PrivateServer, binary_of, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the library on the cluster, where HTTP and functions, which use it, run every test: a minute less."""
    items[:] = [item for item in items if not _is_spared(item)]


def _is_spared(item: pytest.Item) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return (params.get("redis_server"), params.get("api")) == ("cluster", "library")


@pytest.fixture(scope="session", params=[*BACKENDS, "cluster"])
def redis_server(request: pytest.FixtureRequest) -> Iterator[PrivateServer | Cluster]:
    """A private server of each kind that is there, and a cluster."""
    if request.param != "cluster":
        with running(request.param) as server:
            load_library(server.url, shifted_library())  # FLUSHALL leaves it
            yield server
        return
    with running_cluster(binary_of(BACKENDS[0])) as cluster:
        for primary in cluster.primaries():
            load_library(primary.url, shifted_library(clustered=True))
        yield cluster


@pytest.fixture
async def small(redis_server: PrivateServer | Cluster, store: Store, clustered: bool) -> AsyncIterator[Broker]:
    """A broker whose answers have room for some messages."""
    async with Broker(Store.from_url(redis_server.url), scripts=shifted_scripts(clustered, ROOM)) as broker:
        yield broker
