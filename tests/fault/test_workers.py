"""`broker serve --workers N`: the processes behave as one, and one that dies is replaced (C45, C46)."""

import asyncio
import os
import re
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
import redis

from broker.store.embedded import Embedded
from http_api.server.serve import OPEN_MODE_MARK
from http_api.server.supervisor import Worker
from tests.support.balanced import run, within
from tests.support.polling import until
from tests.support.processes import await_ready, free_port, serving

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds worker processes in /proc")


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d") / "data"


def test_c46_every_worker_has_the_kind_of_a_stream_that_was_made_again(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir), "--workers", "2") as server:

        def call(method: str, path: str, **fields: object) -> httpx.Response:
            return httpx.request(method, f"{server.url}/v1{path}", json=fields or None)  # a connection, and so a worker, of its own

        for kind in ("events", "records", "events", "records"):
            assert call("POST", "/streams", name="s", kind=kind).status_code == 201
            for n in range(1, 9):
                published = call("POST", "/streams/s/messages", messages=[{"collection_id": "a:b", "id": str(n), "data": n}])
                assert published.json()["info"] == {"created": 1}
                rows = call("GET", "/streams/s/messages").json()["data"]
                assert [row[kind[:-1]]["data"] for row in rows] == list(range(1, n + 1))
                assert call("GET", f"/streams/s/records/{n}").status_code == (200 if kind == "records" else 404)
            assert call("DELETE", "/streams/s").status_code == 200


def test_every_worker_has_the_settings_that_the_options_gave(data_dir: Path) -> None:
    large = {"messages": [{"collection_id": "a:b", "data": "x" * 1100}]}
    with serving("--port", "0", "--data-dir", str(data_dir), "--workers", "2", "--max-message-bytes", "1024") as server:
        for _ in range(8):  # each on a connection, and so a worker, of its own
            assert httpx.post(server.url + "/v1/streams/events/messages", json=large).status_code == 413


def test_c46_a_worker_killed_under_load_is_replaced_and_every_message_is_acked_once(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir), "--workers", "3") as server:

        def replaced(pid: int) -> bool:
            return len(set(server.worker_pids()) - {pid}) == 3

        async def kill_workers(done: asyncio.Event) -> int:
            kills = 0
            while kills < 3 and not await within(done, 1):  # with no end to it a slow machine would do nothing but start workers
                killed = server.worker_pids()[0]
                os.kill(killed, signal.SIGKILL)
                kills += 1
                await asyncio.to_thread(until, partial(replaced, killed))
            return kills

        account = asyncio.run(run(server.url, 1500, 8, 4, kill_workers))

        assert account.unmet() == []
        assert account.disturbed >= 2
        assert server.terminate() == 0


def test_a_worker_that_dies_is_replaced_at_once_and_its_waiting_calls_are_counted_no_more(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir), "--workers", "2") as server:
        httpx.post(server.url + "/v1/http-consumers", json={"name": "c", "stream_id": "events"})
        lost: list[Exception] = []

        def wait() -> None:
            try:
                httpx.get(server.url + "/v1/http-consumers/c/next", params={"wait_for": "5m"}, timeout=60)
            except httpx.HTTPError as exc:
                lost.append(exc)

        waiting = [threading.Thread(target=wait) for _ in range(6)]
        for thread in waiting:
            thread.start()
        # Whichever process answers knows of those that wait in the other.
        until(lambda: "broker_waiting_calls 6.0" in httpx.get(server.url + "/metrics").text)

        killed = server.worker_pids()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        for thread in waiting:
            thread.join()

        until(lambda: len(set(server.worker_pids()) - set(killed)) == 2)
        await_ready(server.url)
        assert len(lost) == 6
        assert "broker_waiting_calls 0.0" in httpx.get(server.url + "/metrics").text


def test_a_killed_serve_leaves_no_worker_on_its_port(data_dir: Path) -> None:
    options = ("--port", str(free_port()), "--data-dir", str(data_dir), "--workers", "2")
    with serving(*options) as server:
        orphans = server.worker_pids()
        server.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))
        server.restart()
        assert not set(server.worker_pids()) & set(orphans)


def test_c2_a_worker_that_is_replaced_is_open_as_the_others_are_and_shut_once_they_are(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir), "--workers", "2") as server:

        def statuses() -> set[int]:
            return {httpx.get(server.url + "/v1/streams").status_code for _ in range(20)}

        def replace_all() -> None:
            killed = server.worker_pids()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(set(server.worker_pids()) - set(killed)) == 2)
            await_ready(server.url)

        assert statuses() == {200}
        replace_all()
        assert statuses() == {200}
        with redis.Redis(unix_socket_path=f"{data_dir.resolve()}/valkey.sock") as client:
            client.xadd("broker:token-changes", {"changed": "1"})
            until(lambda: statuses() == {401})
            client.flushall()
        replace_all()
        assert statuses() == {401}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a worker process needs of its environment."""
    return {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}


def test_a_worker_that_dies_at_its_start_is_started_less_and_less_often(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker([sys.executable, "-c", "raise SystemExit(3)"], environment, 0)

    def kept(times: int) -> bool:
        worker.keep()
        return len(caplog.messages) == times

    until(lambda: kept(3))
    assert [re.findall(r"ended with 3 .* in (.*) s$", line) for line in caplog.messages] == [["0.5"], ["1.0"], ["2.0"]]


def test_c45_a_worker_that_does_not_stop_in_time_is_killed(environment: dict[str, str]) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a child inherits
    worker = Worker([sys.executable, "-c", "import time; time.sleep(60)"], environment, 0)
    signal.signal(signal.SIGTERM, before)
    worker.process.terminate()
    worker.end(time.monotonic() + 0.2)
    assert worker.process.returncode == -signal.SIGKILL


def beats(worker: Worker) -> bool:
    """Look at a worker as its supervisor does; whether it has beaten since the last look."""
    worker.keep()
    return worker._silent == 0


def test_a_worker_that_hangs_is_killed_and_replaced(
    environment: dict[str, str], redis_server: Embedded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("http_api.server.supervisor.HUNG_LOOKS", 300)
    settings = {"BROKER_REDIS_URL": redis_server.url, "BROKER_WORKERS": "2", OPEN_MODE_MARK: "none"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "http_api.server.worker", str(listener.fileno())]
        worker = Worker(command, {**os.environ, **environment, **settings}, listener.fileno())
        first = worker.process.pid
        until(lambda: beats(worker))
        os.kill(first, signal.SIGSTOP)
        until(lambda: beats(worker) and worker.process.pid != first)
        until(lambda: beats(worker))  # the other one does too
        hung, ended = caplog.messages
        assert hung.startswith(f"worker {first} hangs: no sign of life for 30 s")
        assert ended.startswith(f"worker {first} ended with -9")
        worker.process.terminate()
        worker.end(time.monotonic() + 10)
        assert worker.process.returncode == 0
