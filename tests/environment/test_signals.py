"""Ctrl-C twice, and signals while an upload is under way (C45)."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import COMMAND, Cli
from tests.support.processes import ServeProcess

INT, TERM = signal.SIGINT, signal.SIGTERM
HALF = b"POST /v1/streams/events/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 9999\r\n\r\n"
LINE = b'{"collection_id":"a:b","data":1}\n'


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> ServeProcess:
    """A server of the test's own, which it ends."""
    return ServeProcess("--port", "0", "--data-dir", str(tmp_path_factory.mktemp("d") / "data"), "--workers", request.param).wait_ready()


def ended(server: ServeProcess) -> str:
    """What a server says until it has ended, with status 0."""
    assert server.process.stderr is not None
    said = server.process.stderr.read()
    assert server.process.wait(30) == 0
    server.process.stderr.close()
    return said


@pytest.mark.parametrize("server", ["1", "2"], indirect=True)
@pytest.mark.parametrize("signals", [(INT, INT), (TERM, INT), (INT, INT, INT, INT)])
def test_c45_an_impatient_ctrl_c_ends_in_silence(server: ServeProcess, signals: tuple[signal.Signals, ...]) -> None:
    for number in signals:
        server.process.send_signal(number)
    assert ended(server) == ""


@pytest.mark.parametrize("server", ["1"], indirect=True)
def test_c45_a_second_ctrl_c_gives_an_upload_no_more_time(server: ServeProcess) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection, connection.makefile("rb") as answer:
        connection.sendall(HALF + LINE)
        Cli(server.url).ok("stream", "show", "events")  # by then the server has begun to read the upload
        server.process.send_signal(INT)
        while socket_is_open(host, int(port)):
            pass
        server.process.send_signal(INT)
        said = ended(server)
        assert answer.read().startswith(b"HTTP/1.1 504 ")
    assert "Traceback" not in said


def socket_is_open(host: str, port: int) -> bool:
    """Whether anybody listens there."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("number", "status"), [(INT, 130), (TERM, 143)])
def test_c48_a_signal_ends_a_publish_in_silence(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """A server that never answers holds the command up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "f").write_bytes(LINE)
        command = [*COMMAND, "publish", "events", str(tmp_path / "f"), "--url", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=Cli("").environ) as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1 << 16)
                process.send_signal(number)
                process.send_signal(number)
                assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == status
