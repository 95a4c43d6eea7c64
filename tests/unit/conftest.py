"""A server and the command line at it, for the tests of the command `broker`; a broker for those of costs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from broker import Broker, Store
from broker.commands.scripts import Scripts, prelude
from broker.store.embedded import Embedded
from tests.support.command_line import Cli
from tests.support.processes import ServeProcess, serving


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d") / "data"


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[ServeProcess]:
    """One server for all tests here: each uses names of its own."""
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        yield server


@pytest.fixture(scope="module")
def cli(server: ServeProcess) -> Cli:
    """The command line at the server."""
    return Cli(server.url)


@pytest.fixture
def stream(cli: Cli, request: pytest.FixtureRequest) -> Iterator[str]:
    """An event stream of the test's own, with a consumer of the same name."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[-64:]
    httpx.post(cli.url + "/v1/streams", json={"name": name, "kind": "events"}).raise_for_status()
    httpx.post(cli.url + "/v1/http-consumers", json={"name": name, "stream_id": name}).raise_for_status()
    yield name
    httpx.delete(cli.url + f"/v1/streams/{name}", params={"force": "true"}).raise_for_status()


@pytest.fixture
async def plain(redis_server: Embedded, store: Store) -> AsyncIterator[Broker]:
    """A broker whose calls are counted in round trips. Its scripts keep the stream's time once, not every few ms."""
    text = prelude().replace("KEEP_MS = 10\n", "KEEP_MS = 1e9\n")
    assert text != prelude()
    async with Broker(Store.from_url(redis_server.url), scripts=Scripts(text)) as broker:
        yield broker
