"""docs/haproxy.cfg outside of Docker, with the files that a shell may open."""

import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.balancer import BINARY, SHIPPED
from tests.support.processes import await_ready, free_port, serving

pytestmark = pytest.mark.skipif(BINARY is None, reason="haproxy is not installed")


def test_it_serves_with_addresses_of_the_environment_and_few_open_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("d")
    port, config = free_port(), place / "haproxy.cfg"
    config.write_text(re.sub(r"bind :8080", f"bind 127.0.0.1:{port}", SHIPPED.read_text()))
    with serving("--port", "0", "--data-dir", str(place / "data")) as server, Path(place / "log").open("wb") as log:
        addresses = {f"BROKER_{letter}": server.url.removeprefix("http://") for letter in "ABC"}
        limited = ["sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh", str(BINARY), "-f", str(config)]
        with subprocess.Popen(limited, env=os.environ | addresses, stdout=log, stderr=log) as balancer:
            try:
                await_ready(f"http://127.0.0.1:{port}")
                assert httpx.get(f"http://127.0.0.1:{port}/v1/streams/records").status_code == 200
            finally:
                balancer.terminate()
    assert "FD limit" not in (place / "log").read_text()
