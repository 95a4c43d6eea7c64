"""/metrics of several worker processes, and without Redis (C63)."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from http_api.monitoring.scraping import KEPT_S
from tests.support.exposition import rows
from tests.support.polling import until
from tests.support.processes import serving
from tests.support.servers import BACKENDS, running
from tests.support.serving import serving as serving_here

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds worker processes in /proc")

EVENT = {"messages": [{"collection_id": "a:b", "data": 1}]}


def test_c63_worker_processes_show_the_same_and_ask_redis_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving("--port", "0", "--data-dir", str(tmp_path_factory.mktemp("d") / "data"), "--workers", "3") as server:
        url = server.url
        for name in ("gone", "stays"):
            httpx.post(f"{url}/v1/streams", json={"name": name, "kind": "events"})
            httpx.post(f"{url}/v1/http-consumers", json={"name": f"of-{name}", "stream_id": name})
            for _ in range(8):  # by other processes
                httpx.post(f"{url}/v1/streams/{name}/messages", json=EVENT)
                assert len(httpx.get(f"{url}/v1/http-consumers/of-{name}/next").json()["data"]) == 1

        httpx.post(f"{url}/v1/streams/gone/messages", json=EVENT)
        began = time.monotonic()
        with ThreadPoolExecutor(12) as pool:  # each by a connection, and so a process, of its own
            texts = list(pool.map(lambda _: httpx.get(url + "/metrics").text, range(24)))

        found = [rows(text) for text in texts]
        ages = {each["broker_consumer_oldest_pending_seconds", "consumer=of-gone", "stream=gone"] for each in found}
        assert 1 <= len(ages) <= 1 + (time.monotonic() - began) / KEPT_S, "an age is of the moment at which it was taken"
        assert {each["broker_consumer_ack_pending", "consumer=of-stays", "stream=stays"] for each in found} == {8}
        assert {each["broker_stream_published_total", "stream=stays"] for each in found} == {8}
        assert {each["broker_delivered_total", "consumer=of-stays"] for each in found} == {8}

        def part_shown() -> float:
            pids = [server.process.pid, *server.worker_pids()]
            memory = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)
            return rows(httpx.get(url + "/metrics").text)["process_resident_memory_bytes",] / memory

        # The server is ready with its first worker; the others are counted once they have started.
        until(lambda: 0.7 < part_shown() < 1.4, "the memory is that of all processes")

        httpx.delete(f"{url}/v1/streams/gone", params={"force": "true"})
        for _ in range(8):
            text = httpx.get(url + "/metrics").text
            assert [name in text for name in ('"gone"', '"of-gone"', '"stays"', '"of-stays"')] == [False, False, True, True]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.anyio
async def test_c63_without_redis_it_says_so(backend: str) -> None:
    with running(backend) as redis_server:
        async with serving_here(redis_server.url) as http:
            before = rows((await http.get("/metrics")).text)
            assert before["broker_redis_up",] == 1
            redis_server.stop()
            shown = rows((await http.get("/metrics")).text)
            assert shown["broker_redis_up",] == 0
            assert not [name for name, *_ in shown if name.startswith(("broker_consumer_", "broker_stream_"))]
            assert shown["broker_wait_seconds_count",] == before["broker_wait_seconds_count",]
            redis_server.start()
            assert rows((await http.get("/metrics")).text)["broker_redis_up",] == 1
