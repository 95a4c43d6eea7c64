"""The monitoring files of deploy/: valid rules, queries that a real Prometheus answers from a server, and a guide."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import free_port, serving

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]

needs_prometheus = pytest.mark.skipif(not (shutil.which("promtool") and shutil.which("prometheus")), reason="needs prometheus")


def promtool(*args: str, given: str = "") -> str:
    done = subprocess.run(["promtool", *args], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_the_rules_and_their_tests_pass() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    promtool("test", "rules", str(DEPLOY / "prometheus" / "alerts_test.yml"))


def test_each_alert_is_tested_quiet_and_firing_and_has_a_guide() -> None:
    text, guide = (DEPLOY / "prometheus" / "alerts_test.yml").read_text(), (ROOT / "docs" / "guides" / "alerts.md").read_text()
    for alert in ALERTS:
        assert f"alertname: {alert}, eval_time" in text, f"{alert} is never seen quiet"
        assert f"- alertname: {alert}\n" in text, f"{alert} is never seen firing"
        assert f"runbook: docs/guides/alerts.md#{alert.lower()}\n" in RULES.read_text()
        section = guide.partition(f"\n## {alert}\n")[2].partition("\n## ")[0]
        assert "**What it means.**" in section and "**What to do.**" in section, f"the guide says nothing of {alert}"
    assert set(re.findall(r"^## (Broker\w+)$", guide, re.MULTILINE)) == set(ALERTS)


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes a server each second by the configuration of deploy/."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    configuration = text.replace("15s", "1s").replace("127.0.0.1:8080", target).replace("alerts.yml", str(RULES))
    (directory / "prometheus.yml").write_text(configuration)
    address = f"127.0.0.1:{free_port()}"
    options = (f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", f"--web.listen-address={address}")
    process = subprocess.Popen(["prometheus", *options], stderr=subprocess.DEVNULL)
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.terminate()
        process.wait(30)


def work(client: httpx.Client) -> None:
    """Something of everything: each outcome, a dead letter, a retry, a call that waits, an error, what waits."""
    client.post("/v1/streams/events/messages", json={"messages": [{"collection_id": "a:b", "data": n} for n in range(20)]})
    rows = client.get("/v1/http-consumers/crm/next", params={"batch_size": 10}).json()["data"]
    outcomes = ["retry", "release", "reject"]
    nacks = [{"ack_token": row["ack_token"], "outcome": outcome} for row, outcome in zip(rows, outcomes, strict=False)]
    client.post("/v1/http-consumers/crm/nack", json={"nacks": nacks})
    client.post("/v1/http-consumers/crm/ack", json={"ack_tokens": [row["ack_token"] for row in rows[3:9]]})
    client.get("/v1/http-consumers/idle/next", params={"wait_for": "20ms"})
    client.get("/v1/http-consumers/nobody/next")


@needs_prometheus
def test_every_query_is_answered_from_a_running_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("d")
    with (
        serving("--port", "0", "--data-dir", str(directory / "data")) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
        prometheus(directory, server.url.removeprefix("http://")) as api,
    ):
        for name in ("crm", "idle"):
            client.post("/v1/http-consumers", json={"name": name, "stream_id": "events" if name == "crm" else "records"})
        keda = re.search(r"query: (.*)", (DEPLOY / "keda" / "scaledobject.yaml").read_text())
        assert keda is not None
        left = {query: re.sub(r"\$stream|\$consumer", ".*", query.replace("$__rate_interval", "30s")) for query in [*QUERIES, keda[1]]}
        deadline = time.monotonic() + 150
        while left:
            work(client)
            assert time.monotonic() < deadline, f"no data: {list(left)}"
            left = {query: asked for query, asked in left.items() if not has_data(api, asked)}

        groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
        assert {rule["name"]: rule["health"] for group in groups for rule in group["rules"]} == dict.fromkeys(ALERTS, "ok")
        promtool("check", "metrics", given=client.get("/metrics").text)


def has_data(api: str, query: str) -> bool:
    """Whether a query gives a number. A query that Prometheus does not understand is a failure at once."""
    try:
        reply = httpx.get(f"{api}/query", params={"query": query})
    except httpx.TransportError:
        return False  # it is starting
    if reply.status_code == 503:
        return False  # it still is
    found: dict[str, Any] = reply.json()
    assert found["status"] == "success", (query, found)
    return any(row["value"][1] != "NaN" for row in found.get("data", {}).get("result", ()))
