"""Starting what a measurement or a test needs: `broker serve` as users run it, in a process of its own."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import httpx
import redis


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    pid: int

    @property
    def stderr(self) -> IO[str] | None:
        """Its standard error."""

    def poll(self) -> int | None:
        """The exit status, None while it runs."""

    def wait(self, timeout: float | None = None, /) -> int:
        """The exit status."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """kill -9."""


def by_name(args: Sequence[str], environ: Mapping[str, str]) -> Process:
    """Start `broker` as users do."""
    return subprocess.Popen([sys.executable, "-m", "http_api.cli.main", *args], stderr=subprocess.PIPE, text=True, env=environ)


class ServeProcess:
    """A running `broker serve`."""

    # Tests start it as a fork (tests/conftest.py).
    start: Callable[[Sequence[str], Mapping[str, str]], Process] = staticmethod(by_name)

    def __init__(self, *options: str, environ: dict[str, str] | None = None) -> None:
        self._options = options
        self._environ = os.environ | (environ or {})
        self.process = self._spawn()
        self.greeting, self.url = self._greeted()

    def _spawn(self) -> Process:
        return self.start(["serve", "--log-level", "error", *self._options], self._environ)

    def _greeted(self) -> tuple[str, str]:
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if " access " in line:
                break
        greeting = "".join(lines)
        found = re.search(r' on (http://[^\s"]+)', greeting)
        if not found:
            raise RuntimeError(greeting)
        return greeting, found[1]

    def wait_ready(self, timeout: float = 30) -> "ServeProcess":
        """Return when the server is ready."""
        await_ready(self.url, timeout)
        return self

    def restart(self) -> None:
        """Start the ended server again with the same options. Returns when it is ready."""
        self.process = self._spawn()
        self.greeting, self.url = self._greeted()
        self.wait_ready()

    def worker_pids(self) -> list[int]:
        """The process ids of the workers of `--workers N`. Linux only."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"http_api.server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self._reap()

    def terminate(self) -> int:
        """SIGTERM; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        status = self.process.wait(30)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return status


def await_ready(url: str, timeout: float = 30) -> None:
    """Return when a server at `url` is ready. TimeoutError."""
    deadline = time.monotonic() + timeout
    with httpx.Client(base_url=url) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if client.get("/health/ready", headers={"Connection": "close"}).status_code == 200:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(url)
            time.sleep(0.02)


def free_port() -> int:
    """A loopback port for repeated starts: no outgoing connection gets one below 32768."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def serving(*options: str, environ: dict[str, str] | None = None) -> Iterator[ServeProcess]:
    """A server that is ready, and is ended after the block."""
    server = ServeProcess(*options, environ=environ).wait_ready()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.terminate()
        else:
            server._reap()


def valkey_pid(data_dir: Path) -> int:
    """The process id of the embedded Valkey."""
    with redis.Redis(unix_socket_path=str(data_dir.resolve() / "valkey.sock")) as client:
        return int(client.info("server")["process_id"])


def cpu_us(pid: int) -> float:
    """CPU time of all threads of a process so far, in microseconds (Linux)."""
    return sum(int((task / "schedstat").read_text().split()[0]) / 1000 for task in Path(f"/proc/{pid}/task").iterdir())
