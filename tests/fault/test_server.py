"""`broker serve` as a process: start, stop, kill, and who may connect (C2, C45, C49-C51)."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from http_api.server.serve import listen
from http_api.settings import Settings
from tests.support.processes import ServeProcess, serving, valkey_pid
from tests.support.workers import run

EVENT = {"messages": [{"collection_id": "a:b", "data": 1}]}


def broker(*args: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `broker`."""
    command = [sys.executable, "-m", "http_api.cli.main", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=os.environ | environ)


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d") / "data"


def test_c50_the_data_directory_is_private_and_a_second_serve_is_refused(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert "everysec" in server.greeting and "noeviction" in server.greeting
        second = broker("serve", "--port", "0", "--data-dir", str(data_dir))
        assert (second.returncode, second.stderr.count("\n")) == (1, 1)
        assert "in use by another broker" in second.stderr
        assert httpx.get(server.url + "/health/ready").status_code == 200


def test_c50_killed_servers_and_a_killed_valkey_lose_nothing(data_dir: Path) -> None:
    options = ("--port", "0", "--data-dir", str(data_dir))
    server = ServeProcess(*options).wait_ready()
    accepted = 0
    for round_ in range(3):
        for _ in range(20):
            reply = httpx.post(server.url + "/v1/streams/events/messages", json=EVENT)
            accepted += reply.status_code == 200
        if round_ == 0:
            server.kill()
            server = ServeProcess(*options).wait_ready()
        elif round_ == 1:
            os.kill(valkey_pid(data_dir), signal.SIGKILL)
            server.wait_ready()
    held = httpx.get(server.url + "/v1/streams/events").json()["info"]["messages"]
    assert server.terminate() == 0
    assert held == accepted == 60


def test_c50_the_valkey_stops_with_the_server(data_dir: Path) -> None:
    server = ServeProcess("--port", "0", "--data-dir", str(data_dir)).wait_ready()
    pid = valkey_pid(data_dir)
    assert server.terminate() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_c45_sigterm_ends_waiting_calls_empty_and_finishes_calls_in_flight(data_dir: Path) -> None:
    server = ServeProcess("--port", "0", "--data-dir", str(data_dir)).wait_ready()
    httpx.post(server.url + "/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    replies: list[httpx.Response] = []

    def wait() -> None:
        replies.append(httpx.get(server.url + "/v1/http-consumers/c/next", params={"wait_for": "5m"}, timeout=60))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    while "broker_waiting_calls 3.0" not in httpx.get(server.url + "/metrics").text:
        pass
    assert server.terminate() == 0
    for thread in threads:
        thread.join()
    assert [(r.status_code, r.json()["data"]) for r in replies] == [(200, [])] * 3


def test_c2_an_open_server_binds_loopback_only(data_dir: Path) -> None:
    refused = broker("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(data_dir))  # noqa: S104
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "broker token create" in refused.stderr


def test_c2_c51_tokens_and_scopes_take_effect_at_once(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        assert "open: no access token" in server.greeting

        def call(method: str, path: str, token: str | None, **options: Any) -> tuple[int, str]:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            reply = httpx.request(method, server.url + path, headers=headers, **options)
            return reply.status_code, reply.json().get("code", "")

        assert call("GET", "/v1/streams", None) == (200, "")
        tokens = {
            name: broker("token", "create", name, "--scope", scope, "--data-dir", str(data_dir)).stdout.strip()
            for name, scope in (("root", "admin"), ("pub", "publish:events"), ("con", "consume:c"))
        }
        while call("GET", "/v1/streams", None)[0] == 200:
            pass
        assert call("GET", "/v1/streams", None) == (401, "UNAUTHENTICATED")
        while call("GET", "/v1/streams", tokens["root"])[0] != 200:
            pass
        created = call("POST", "/v1/http-consumers", tokens["root"], json={"name": "c", "stream_id": "events"})
        assert created == (201, "")
        assert call("POST", "/v1/streams/events/messages", tokens["pub"], json=EVENT) == (200, "")
        assert call("POST", "/v1/streams/records/messages", tokens["pub"], json=EVENT) == (403, "FORBIDDEN")
        assert call("GET", "/v1/http-consumers/c/next", tokens["pub"]) == (403, "FORBIDDEN")
        assert call("GET", "/v1/http-consumers/c/next", tokens["con"]) == (200, "")
        assert call("GET", "/v1/http-consumers/c", tokens["con"]) == (200, "")
        assert call("DELETE", "/v1/http-consumers/c", tokens["con"]) == (403, "FORBIDDEN")
        listed = broker("token", "list", "--data-dir", str(data_dir)).stdout
        assert [json.loads(line)["name"] for line in listed.splitlines()] == ["con", "pub", "root"]
        assert not any(token in listed for token in tokens.values())
        assert broker("token", "revoke", "pub", "--data-dir", str(data_dir)).returncode == 0
        while call("POST", "/v1/streams/events/messages", tokens["pub"], json=EVENT)[0] == 200:
            pass
        assert call("POST", "/v1/streams/events/messages", tokens["pub"], json=EVENT) == (401, "UNAUTHENTICATED")


def test_c2_a_server_that_others_can_reach_does_not_open_when_its_last_token_is_revoked(data_dir: Path) -> None:
    text = broker("token", "create", "a", "--scope", "admin", "--data-dir", str(data_dir)).stdout.strip()
    options = ("--host", "0.0.0.0", "--port", "0", "--data-dir", str(data_dir))  # noqa: S104
    with serving(*options) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1") + "/v1/streams"  # noqa: S104
        assert httpx.get(url, headers={"Authorization": f"Bearer {text}"}).status_code == 200
        assert broker("token", "revoke", "a", "--data-dir", str(data_dir)).returncode == 0
        deadline = time.monotonic() + 5
        while httpx.get(url, headers={"Authorization": f"Bearer {text}"}).status_code == 200:
            assert time.monotonic() < deadline
        assert httpx.get(url).status_code == 401
    assert broker("serve", *options).returncode == 2
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        assert "all access tokens were revoked" in server.greeting
        assert httpx.get(server.url + "/v1/streams").status_code == 401


def test_c51_the_admin_token_of_the_environment_lets_a_server_bind_anywhere(data_dir: Path) -> None:
    options = ("--host", "0.0.0.0", "--port", "0", "--data-dir", str(data_dir))  # noqa: S104
    with serving(*options, environ={"BROKER_ADMIN_TOKEN": "swordfish-swordfish"}) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1") + "/v1/streams"  # noqa: S104
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": "Bearer swordfish-swordfish"}).status_code == 200


def test_c51_a_short_admin_token_serves_on_loopback_alone(data_dir: Path) -> None:
    options = ("--port", "0", "--data-dir", str(data_dir))
    refused = broker("serve", "--host", "0.0.0.0", *options, BROKER_ADMIN_TOKEN="swordfish-12345")  # noqa: S104, S106
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("broker: BROKER_ADMIN_TOKEN: ") and "16 characters" in refused.stderr
    assert not data_dir.exists()
    with serving(*options, environ={"BROKER_ADMIN_TOKEN": "sword"}) as server:
        assert httpx.get(server.url + "/v1/streams", headers={"Authorization": "Bearer sword"}).status_code == 200


@pytest.mark.parametrize(
    ("args", "environ", "named"),
    [
        (("--port", "70000"), {}, "--port"),
        ((), {"BROKER_PORT": "no"}, "BROKER_PORT"),
        (("--redis", "http://x"), {}, "--redis"),
        (("--workers", "0"), {}, "--workers"),
        (("--log-level", "loud"), {}, "--log-level"),
        (("--host", "no.such.host.invalid"), {}, "no.such.host.invalid"),
    ],
)
def test_c49_a_wrong_setting_stops_the_start_with_one_line(
    data_dir: Path, args: tuple[str, ...], environ: dict[str, str], named: str
) -> None:
    refused = broker("serve", "--data-dir", str(data_dir), *args, **environ)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert named in refused.stderr


@pytest.mark.parametrize("command", ["serve", "check", "token list"])
def test_c49_a_redis_that_cannot_be_reached_is_named_without_its_password(command: str) -> None:
    refused = broker(*command.split(), "--redis", "redis://me:swordfish@127.0.0.1:1/0")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "--redis redis://127.0.0.1:1/0: " in refused.stderr
    assert "swordfish" not in refused.stderr


def test_c49_who_has_read_the_greeting_can_connect(data_dir: Path) -> None:
    server = ServeProcess("--port", "0", "--data-dir", str(data_dir))
    try:
        assert httpx.get(server.url + "/health/live", timeout=30).status_code == 200
    finally:
        server.terminate()


@pytest.mark.parametrize(
    "request_text",
    [b"FOO /v1/streams HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"\x16\x03\x01\x02\0\r\n\r\n", b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n"],
)  # fmt: skip
def test_c3_what_is_not_http_is_an_error_of_the_one_shape(data_dir: Path, request_text: bytes) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection, connection.makefile("rb") as answer:
            connection.sendall(request_text)
            head, _, body = answer.read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert re.search(rb"\r\nx-request-id: [!-~]+(\r\n|$)", head)
        assert (json.loads(body)["code"], set(json.loads(body))) == ("INVALID_REQUEST", {"code", "summary"})


def test_c45_an_upload_that_stalls_is_cut_off_with_an_error_of_the_one_shape_and_no_traceback(data_dir: Path) -> None:
    server = ServeProcess("--port", "0", "--data-dir", str(data_dir)).wait_ready()
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection, connection.makefile("rb") as answer:
        head = b"POST /v1/streams/events/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 99\r\n\r\n{")
        httpx.get(server.url + "/health/live")  # by then the server has begun to read the other one
        assert server.process.stderr is not None
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        log = server.process.stderr.read()
        assert server.process.wait(30) == 0
        assert time.monotonic() - started < 10
        head, _, body = answer.read().partition(b"\r\n\r\n")
    assert "Traceback" not in log
    assert (head[:13], json.loads(body)["code"]) == (b"HTTP/1.1 504 ", "OUTCOME_UNKNOWN")
    server.process.stderr.close()


def test_metrics_of_several_workers_leave_out_what_was_deleted(data_dir: Path) -> None:
    with serving("--port", "0", "--data-dir", str(data_dir), "--workers", "2") as server, httpx.Client(base_url=server.url) as client:
        for name in ("gone", "stays"):
            client.post("/v1/streams", json={"name": name, "kind": "events"})
            client.post("/v1/http-consumers", json={"name": f"of-{name}", "stream_id": name})
            client.post(f"/v1/streams/{name}/messages", json=EVENT)
            assert len(client.get(f"/v1/http-consumers/of-{name}/next").json()["data"]) == 1
        shown = client.get("/metrics").text
        assert all(name in shown for name in ('"gone"', '"of-gone"', '"stays"', '"of-stays"'))
        client.delete("/v1/streams/gone?force=true")
        shown = client.get("/metrics").text
        assert [name in shown for name in ('"gone"', '"of-gone"', '"stays"', '"of-stays"')] == [False, False, True, True]


def test_c49_a_port_in_use_is_one_line(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = broker("serve", "--port", str(taken.getsockname()[1]), "--data-dir", str(data_dir))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_c46_several_workers_and_servers_behave_as_one(data_dir: Path) -> None:
    options = ("--port", "0", "--data-dir", str(data_dir), "--workers", "2")
    with serving(*options) as first, serving("--port", "0", "--redis", f"unix://{data_dir}/valkey.sock") as second:
        log = asyncio.run(run([first, second], total=1500, workers=8))
        assert log.acked().total() == len(log.acked()) == 1500
        assert log.overlaps() == []
        assert log.wrong_counts() == []
        assert log.unknown == 0
        assert first.terminate() == 0


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has no TCP_KEEPIDLE")
def test_c21_clients_that_are_silent_are_asked_whether_they_are_still_there() -> None:
    with listen(Settings(port=0)) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as connection:
            asked = [connection.getsockopt(socket.IPPROTO_TCP, n) for n in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)]
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert asked[0] + asked[1] * asked[2] <= 30
