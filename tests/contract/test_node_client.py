"""A client in another language: `tests/node`, by functions alone, beside HTTP workers on one consumer."""

import json
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.functions import load_library
from tests.support.npm import with_packages
from tests.support.processes import serving
from tests.support.servers import BACKENDS, running

NODE = Path(__file__).resolve().parents[1] / "node"
EVENTS = 150


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client with its packages, outside of the tree."""
    return with_packages(NODE, tmp_path_factory.mktemp("node"))


def counts(url: str) -> list[int]:
    """num_pending, num_ack_pending, num_dead, num_redelivered."""
    info = httpx.get(url + "/v1/http-consumers/nodes").raise_for_status().json()["info"]
    return [info[name] for name in ("num_pending", "num_ack_pending", "num_dead", "num_redelivered")]


class HttpWorker(threading.Thread):
    """Fetches and acks by HTTP until it is ended; `done`: the ids with their events."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.done: list[tuple[str, Any]] = []
        self.failure: Exception | None = None
        self.ending = threading.Event()

    def run(self) -> None:
        path = f"{self.url}/v1/http-consumers/nodes"
        try:
            with httpx.Client() as client:
                while not self.ending.is_set():
                    query = {"batch_size": "3", "wait_for": "50ms"}
                    batch = client.get(path + "/next", params=query).raise_for_status().json()["data"]
                    if batch:
                        tokens = [row["ack_token"] for row in batch]
                        settled = client.post(path + "/ack", json={"ack_tokens": tokens}).raise_for_status().json()
                        assert settled == {"acked": len(batch), "stale": []}
                        self.done += [(row["id"], row["event"]) for row in batch]
        except Exception as exc:
            self.failure = exc


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_node_client_and_http_workers_share_a_consumer(client: Path, backend: str) -> None:
    with running(backend) as redis_server, serving("--port", "0", "--redis", redis_server.url) as server:
        load_library(redis_server.url)
        command = ["node", "run.js", str(redis_server.socket), "shared", "nodes", str(EVENTS)]
        workers = [HttpWorker(server.url) for _ in range(2)]
        with subprocess.Popen(command, cwd=client, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None and node.stderr is not None
            rows = [node.stdout.readline(), node.stdout.readline()]
            assert rows.pop() == "ready\n", node.stderr.read()
            for worker in workers:
                worker.start()
            mine = [{"collection_id": "node:events", "id": f"http-{n}", "data": n} for n in range(EVENTS)]
            for n in range(0, EVENTS, 10):
                httpx.post(server.url + "/v1/streams/shared/messages", json={"messages": mine[n : n + 10]}).raise_for_status()
            # Not by communicate(), which misses what readline() has read ahead.
            too_late = threading.Timer(60, node.kill)
            too_late.start()
            rows += node.stdout
            err = node.stderr.read()
            node.wait()
            too_late.cancel()
        deadline = time.monotonic() + 10
        while any(counts(server.url)) and time.monotonic() < deadline:  # the last messages may have arrived after node ended
            time.sleep(0.02)
        for worker in workers:
            worker.ending.set()
            worker.join()
        assert (node.returncode, err, [worker.failure for worker in workers]) == (0, "", [None, None])

        by_node = [(row["id"], row["event"]) for row in map(json.loads, rows)]
        by_http = [row for worker in workers for row in worker.done]
        assert set(Counter(message for message, _ in by_node + by_http).values()) == {1}
        expected = {f"{who}-{n}" for who in ("node", "http") for n in range(EVENTS)}
        assert {event["id"] for _, event in by_node + by_http} == expected
        for kind in (by_node, by_http):
            assert {event["id"].partition("-")[0] for _, event in kind} == {"node", "http"}, "each got events of both"
        fields = {frozenset(event.keys() - {"stream_id", "inserted_at"}) for _, event in by_node + by_http}
        assert len(fields) == 1, "all see the same fields"
        assert counts(server.url) == [0, 0, 0, 0]
        assert httpx.get(server.url + "/v1/http-consumers/nodes").json()["filters"] == {"provider": "node"}
