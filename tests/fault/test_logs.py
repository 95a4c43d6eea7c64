"""Log lines of `broker serve` (C64): start and stop, outages of Redis, the first token and, at debug, each request."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.command_line import COMMAND
from tests.support.polling import until
from tests.support.processes import ServeProcess, await_ready, valkey_pid

CANARY = "canary-7f3a"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def a_life(data_dir: Path, *options: str) -> list[str]:
    """The lines of a server that loses its Redis, gets it back, is given its first token, and is stopped."""
    server = ServeProcess("--port", "0", "--data-dir", str(data_dir), *options).wait_ready()
    body = {"messages": [{"collection_id": "a:b", "data": CANARY, "headers": {"h": CANARY}}]}
    headers = {"X-Request-Id": "mine", "X-Other": CANARY}
    httpx.post(server.url + "/v1/streams/events/messages", json=body, headers=headers)
    httpx.get(server.url + f"/v1/http-consumers/c/next?{CANARY}={CANARY}", headers=headers)
    os.kill(valkey_pid(data_dir), signal.SIGKILL)
    await_ready(server.url)
    token = httpx.post(server.url + "/v1/tokens", json={"name": "t", "scopes": ["admin"]}).json()["token"]
    assert httpx.get(server.url + "/v1/streams", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    # The first token shuts the server within milliseconds.
    wrong = {"Authorization": f"Bearer {CANARY}"}
    until(lambda: httpx.get(server.url + "/v1/streams", headers=wrong).status_code == 401, "the server is shut")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stderr is not None
    text = server.greeting + server.process.stderr.read()
    assert server.terminate() == 0
    assert not [secret for secret in (CANARY, token) if secret in text]
    return text.splitlines()


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d") / "data"


HAPPENED = [
    r"broker \S+ on http://\S+", r"redis .*", r"persistence .*", r"eviction .*", r"access open: .*", r"Redis is lost: .*",
    r"Redis is back after .* s", r"an access token was made: .*", r"stopping: .*", r"stopped",
]  # fmt: skip


def of_interest(messages: list[str]) -> list[str]:
    """Which lines of HAPPENED there are, in their order, each once."""
    found = [what for message in messages for what in HAPPENED if re.fullmatch(what, message)]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_c64_the_life_of_a_server_as_text(data_dir: Path, workers: str) -> None:
    messages = []
    for line in a_life(data_dir, "--log-level", "info", "--workers", workers):
        parts = re.fullmatch(rf"{TIME} (INFO|WARNING|ERROR) +(.*)", line)
        assert parts is not None, line
        messages.append(" ".join(parts[2].split()))
    assert of_interest(messages) == HAPPENED
    assert len(messages) < 40, "an outage is some lines, however many calls notice"


def test_c64_the_life_of_a_server_as_json_with_a_line_a_request(data_dir: Path) -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in a_life(data_dir, "--log-level", "debug", "--log-format", "json")]
    assert all(re.fullmatch(TIME, line["time"]) and line["level"] in ("debug", "info", "warning", "error") for line in lines)
    assert of_interest([line["message"] for line in lines]) == HAPPENED
    [published] = [line for line in lines if line.get("operation") == "publish"]
    assert (published["request_id"], published["stream"], published["status"], published["level"]) == ("mine", "events", 200, "debug")


def test_c64_a_wrong_format_is_one_line(data_dir: Path) -> None:
    command = [*COMMAND, "serve", "--data-dir", str(data_dir), "--log-format", "xml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, "broker: --log-format: 'xml' is not one of text, json.\n")
