"""examples/, run as a reader would run them."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.processes import ServeProcess, free_port

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def started(server: ServeProcess, example: str, *args: str, **environ: str) -> subprocess.Popen[str]:
    """An example that runs against the server."""
    command = [sys.executable, str(EXAMPLES / example), *args]
    environment = os.environ | {"BROKER_URL": server.url, **environ}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def post(server: ServeProcess, path: str, body: object) -> None:
    httpx.post(f"{server.url}/v1/{path}", json=body).raise_for_status()


def test_the_worker_handles_settles_and_stops(server: ServeProcess) -> None:
    post(server, "http-consumers", {"name": "lasting", "stream_id": "events"})
    post(server, "streams/events/messages", {"messages": [{"collection_id": "a:b", "id": f"e-{n}", "data": n} for n in range(25)]})
    worker = started(server, "worker.py", "lasting", WORKER_WAIT_S="0.5")
    assert worker.stdout is not None
    handled = [worker.stdout.readline() for _ in range(25)]
    worker.send_signal(signal.SIGTERM)
    assert worker.communicate(timeout=30) == ("", "")
    assert worker.returncode == 0
    assert handled == [f"e-{n} {n}\n" for n in range(25)]
    info = httpx.get(f"{server.url}/v1/http-consumers/lasting").json()["info"]
    assert (info["num_pending"], info["num_ack_pending"]) == (0, 0)


def test_the_worker_ends_where_the_call_is_refused(server: ServeProcess) -> None:
    worker = started(server, "worker.py", "nobody")
    assert "CONSUMER_NOT_FOUND" in worker.communicate(timeout=30)[1]
    assert worker.returncode == 1


def test_the_worker_says_that_nobody_answers_and_stops(server: ServeProcess) -> None:
    worker = started(server, "worker.py", "lasting", BROKER_URL=f"http://127.0.0.1:{free_port()}")
    assert worker.stderr is not None
    assert "Connection refused" in worker.stderr.readline()
    worker.send_signal(signal.SIGTERM)
    assert "stopped; messages that are not settled" in worker.communicate(timeout=30)[1]
    assert worker.returncode == 1


@pytest.mark.parametrize("example", ["worker.py", "sync_to_sqlite.py"])
@pytest.mark.parametrize("args", [[], ["--help"]])
def test_an_example_says_how_it_is_used(server: ServeProcess, example: str, args: list[str]) -> None:
    process = started(server, example, *args)
    assert process.communicate(timeout=30)[1].startswith(f"usage: python {example} CONSUMER")


def test_the_copy_in_sqlite_is_the_newest_version_of_each_record(server: ServeProcess, tmp_path: Path) -> None:
    def publish(*versions: dict[str, object]) -> None:
        post(server, "streams/records/messages", {"messages": [{"collection_id": "a:b", **version} for version in versions]})

    post(server, "http-consumers", {"name": "copy"})
    publish(*({"upstream_id": str(n), "data": n} for n in range(150)))
    for round_ in (1, 2):  # the second copy goes on from the first
        publish({"upstream_id": "7", "data": f"new {round_}"}, {"upstream_id": "8", "deleted": True})
        copying = started(server, "sync_to_sqlite.py", "copy", str(tmp_path / "copy.db"))
        assert copying.communicate(timeout=30) == ("", "")
        table = sqlite3.connect(tmp_path / "copy.db")
        assert table.execute("SELECT count(*), sum(deleted) FROM records").fetchone() == (150, 1)
        assert table.execute("SELECT data FROM records WHERE data LIKE '%new%'").fetchall() == [(f'"new {round_}"',)]
        table.close()
