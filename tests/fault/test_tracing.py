"""A server that sends its spans to a collector by OTLP, and one without OpenTelemetry (docs/decisions/0031)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from http_api.monitoring.tracing import Plan, begin, plan
from tests.support.processes import ServeProcess

CALLER = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
SECONDS_TO_STOP = 10  # C45
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Collector(ThreadingHTTPServer):
    """Takes spans as a collector does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        scopes = [scope for one in self._resources for scope in one.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    @property
    def services(self) -> set[str]:
        pairs = [pair for one in self._resources for pair in one.resource.attributes]
        return {pair.value.string_value for pair in pairs if pair.key == "service.name"}

    @property
    def _resources(self) -> list[Any]:
        return [one for request in self.requests for one in request.resource_spans]


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, args=(0.05,)).start()
        yield collector
        collector.shutdown()


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d") / "data"


def started(data_dir: Path, *options: str, **environ: str) -> ServeProcess:
    return ServeProcess("--port", "0", "--data-dir", str(data_dir), *options, environ=environ).wait_ready()


def stopped(server: ServeProcess) -> list[str]:
    """End a server; gives all lines that it wrote."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stderr is not None
    text = server.greeting + server.process.stderr.read()
    assert server.terminate() == 0
    return text.splitlines()


def a_message(url: str) -> str:
    """Publish a message, take it and acknowledge it; gives the `traceparent` that it carried."""
    httpx.post(url + "/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    published = {"messages": [{"collection_id": "a:b", "data": 1}]}
    httpx.post(url + "/v1/streams/events/messages", json=published, headers=CALLER).raise_for_status()
    [delivery] = httpx.get(url + "/v1/http-consumers/c/next", params={"worker": "w1"}).json()["data"]
    httpx.post(url + "/v1/http-consumers/c/ack", json={"ack_tokens": [delivery["ack_token"]]}).raise_for_status()
    carried: str = delivery["event"]["headers"]["traceparent"]
    return carried


def test_spans_can_be_written_beside_the_log(data_dir: Path) -> None:
    server = started(data_dir, "--workers", "2", OTEL_TRACES_EXPORTER="console")
    carried = a_message(server.url)
    text = "\n".join(stopped(server))
    assert all(f'"name": "{name}"' in text for name in ("publish events", "receive c", "ack c"))
    assert f'"span_id": "0x{carried.split("-")[2]}"' in text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_spans_reach_the_collector_before_the_server_ends(data_dir: Path, collector: Collector, workers: str) -> None:
    form = ("--workers", workers, "--log-level", "debug", "--log-format", "json")
    server = started(data_dir, *form, **{ENDPOINT: collector.url}, OTEL_BSP_SCHEDULE_DELAY="60000")
    carried = a_message(server.url)
    lines = [json.loads(line) for line in stopped(server)]
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"publish events", "receive c", "ack c"}
    publish, receive = spans["publish events"], spans["receive c"]
    assert [publish.trace_id.hex(), publish.parent_span_id.hex()] == CALLER["traceparent"].split("-")[1:3]
    assert [(link.trace_id, link.span_id) for link in receive.links] == [(publish.trace_id, publish.span_id)]
    assert carried.split("-")[1:3] == [publish.trace_id.hex(), publish.span_id.hex()]
    logged = {line["operation"]: line["span_id"] for line in lines if "span_id" in line}
    expected = {"publish": publish, "next": receive, "ack": spans["ack c"]}
    assert logged == {operation: span.span_id.hex() for operation, span in expected.items()}
    assert [line["message"] for line in lines if "traces" in line["message"]] == [f"traces by OTLP to {collector.url}"]
    assert collector.services == {"stream-broker"}


def test_a_collector_that_does_not_answer_holds_up_neither_calls_nor_the_stop(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {ENDPOINT: f"http://127.0.0.1:{silent.getsockname()[1]}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
        server = started(data_dir, "--log-level", "warning", **environ)
        a_message(server.url)
        before = time.monotonic()
        lines = stopped(server)
        assert time.monotonic() - before < SECONDS_TO_STOP
        assert any("last spans" in line for line in lines), lines


def _without_opentelemetry(tmp_path: Path) -> dict[str, str]:
    """An environment in which it cannot be imported."""
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError('blocked')\n")
    return {"PYTHONPATH": os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])))}


def test_without_the_extra_a_server_serves_and_says_that_it_traces_nothing(tmp_path: Path, data_dir: Path) -> None:
    server = started(data_dir, "--workers", "2", **_without_opentelemetry(tmp_path), **{ENDPOINT: "http://127.0.0.1:9"})
    assert a_message(server.url) == CALLER["traceparent"]
    lines = stopped(server)
    assert sum("stream-broker[otel]" in line for line in lines) == 1
    assert not any(" traces  " in line for line in lines)


def test_nothing_is_imported_where_nothing_is_asked_for() -> None:
    code = "import sys, http_api.server.serve as s; assert s.tracing.begin({}) is None; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = found.stdout.split()
    assert "http_api.monitoring.tracing" in modules
    # The client of Redis imports what it needs for metrics of its own, where that is installed.
    costly = ("http_api.monitoring.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter", "requests", "google")
    assert [name for name in modules if name.startswith(costly)] == []


NAMED = {ENDPOINT: "http://c:4318"}
OTLP = Plan("otlp", "by OTLP to http://c:4318")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Plan()), ({ENDPOINT: ""}, Plan()), ({"OTEL_SERVICE_NAME": "x"}, Plan()),
        (NAMED, OTLP), ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://user:pass@c:4318?k=v"}, OTLP),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, Plan("otlp", "by OTLP to http://localhost:4318")),
        ({"OTEL_TRACES_EXPORTER": "console"}, Plan("console", "to standard error")),
        ({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, Plan()),
        ({ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "True"}, Plan()),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"} | NAMED, OTLP),
    ],
)  # fmt: skip
def test_the_environment_says_where_spans_go(environ: dict[str, str], expected: Plan) -> None:
    assert plan(environ) == expected


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"}, {ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {ENDPOINT: "localhost:4318"}, {ENDPOINT: "http://[c"},
    ],
)  # fmt: skip
def test_what_is_not_spoken_here_is_warned_of(environ: dict[str, str]) -> None:
    assert [not part for part in plan(environ)] == [True, True, False]
    assert any(name in plan(environ).warning for name in environ)
    assert begin(environ) is None


def test_a_setting_of_the_exporter_that_cannot_be_used_stops_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert begin({ENDPOINT: "http://c:4318"}) is None
