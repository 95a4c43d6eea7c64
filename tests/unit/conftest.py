"""A server and the command line at it, for the tests of the command `broker`."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

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
