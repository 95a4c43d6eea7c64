"""Redis servers on local ports, which tests and benchmarks kill, restart and replicate."""

import contextlib
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.polling import until


def free_ports(count: int) -> list[int]:
    """Free ports whose cluster bus ports, 10,000 higher, are free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError, OverflowError):
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            other.bind(("127.0.0.1", port + 10000))
            if port not in found:
                found.append(port)
    return found


class RedisProcess:
    """One server; `run` sends it a command."""

    def __init__(self, binary: str, directory: Path, port: int, *options: str) -> None:
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self.hangs = False
        self._command = [binary, *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--logfile", f"{port}.log"]
        self.client = redis.Redis(port=port, socket_timeout=5, retry=Retry(NoBackoff(), 0), decode_responses=True, protocol=2)
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def run(self, *command: str | int) -> Any:
        """Run a command on it."""
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    def start(self, *options: str) -> None:
        """Start the server, also after a kill."""
        self.process = subprocess.Popen([*self._command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: bool(self.client.ping()), f"the server on {self.port} answers")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None and not self.hangs

    @property
    def is_primary(self) -> bool:
        """Whether it takes writes, as far as it knows."""
        return bool(self.client.role()[0] == "master")

    def followed_by(self, replicas: int) -> bool:
        """Whether so many replicas follow it and have what is written now."""
        if len(self.client.role()[2]) != replicas:
            return False
        return bool(self.client.set("followed", 1)) and self.client.wait(replicas, 500) == replicas

    def hang(self) -> None:
        """Stop it: its connections stay open, and it says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.hangs = True

    def cut_off(self) -> None:
        """Cut it off from its replicas and sentinels. Connected clients stay connected, as in a split network."""
        self.run("CONFIG", "SET", "requirepass", "split")
        for client in self.client.client_list():
            if "S" in client["flags"] or client["name"].startswith("sentinel"):
                self.run("CLIENT", "KILL", "ID", client["id"])

    def go_on(self) -> None:
        """End what `hang` or `cut_off` began."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.hangs = False
        self.run("CONFIG", "SET", "requirepass", "")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self.kill()


def data_server(binary: str, directory: Path, port: int, *options: str) -> RedisProcess:
    """A server that holds data, without snapshots; replicas follow it at once."""
    own = ("--save", "", "--appendonly", "no", "--appendfilename", f"{port}.aof", "--repl-diskless-sync-delay", "0")
    return RedisProcess(binary, directory, port, *own, *options)
