"""The command `broker` as a fork of a process that has imported it: a start costs 20 ms of CPU, not 500.

It is a process as any other, with an exit status, standard streams, environment and working directory of its own, and
it ends as Python ends. Where the start itself is what a test is about, or a variable of Python's is set, run it by its
name.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from http_api.cli.main import COMMANDS

MODULE = "http_api.cli.main"
# A fork's process id comes first on its socket, and its exit status at its end.
PID_BYTES = 8


class Fork:
    """A running command, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, args: Sequence[str], environ: Mapping[str, str], standard: Sequence[int]) -> None:
        self.args, self.returncode = args, cast("int | None", None)
        self._status, theirs = socket.socketpair()
        with theirs:
            request = {"args": list(args), "environ": dict(environ), "cwd": str(Path.cwd())}
            _forker().start(request, [*standard, theirs.fileno()])
        self.pid = int(self._status.recv(PID_BYTES))

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, below 0 for a signal. TimeoutError."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            self.returncode = int(self._status.recv(16))
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        with contextlib.suppress(BlockingIOError):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):  # its end may have yet to be reported
            if self.poll() is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


class Server(Fork):
    """A command that goes on, whose standard error is read as text."""

    def __init__(self, args: Sequence[str], environ: Mapping[str, str]) -> None:
        ours, err = os.pipe()
        self.stderr = os.fdopen(ours)
        nothing = os.open(os.devnull, os.O_RDONLY)
        super().__init__(args, environ, [nothing, 1, err])
        os.close(nothing)
        os.close(err)


def run(args: Sequence[str], stdin: bytes, environ: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, as `subprocess.run` with `capture_output` does. TimeoutError."""
    (in_, our_in), (our_out, out), (our_err, err) = (os.pipe() for _ in range(3))
    with ThreadPoolExecutor(3) as pool:
        fork = Fork(args, environ, [in_, out, err])
        for descriptor in (in_, out, err):
            os.close(descriptor)
        pool.submit(_write, our_in, stdin)
        found = [pool.submit(_read, descriptor) for descriptor in (our_out, our_err)]
        status = fork.wait(timeout)
    return subprocess.CompletedProcess(args, status, *(one.result() for one in found))


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb") as file:
        file.write(data)


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


class _Forker:
    """The process that forks. It ends with the one that started it, and runs no more than one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        atexit.register(self._end)

    def start(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Start a command with these descriptors: its standard streams, and a socket that is sent its exit status."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], descriptors)
            assert self._socket.recv(1), "the process that forks has died"

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


_forker = lru_cache(maxsize=1)(_Forker)


def _serve(control: socket.socket) -> None:
    """Fork for each request. It returns in the fork alone, which is to run the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for a command are waited for by nobody
    while True:
        request, descriptors, *_ = socket.recv_fds(control, 1 << 16, 4)
        while request and not request.endswith(b"\n"):
            request += control.recv(1 << 16)
        if not request:
            sys.exit()
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            command = os.fork()
            if command == 0:
                os.close(descriptors.pop())
                _become(json.loads(request), descriptors)
                return
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            os.write(descriptors[3], b"%*d" % (PID_BYTES, command))
            _, status = os.waitpid(command, 0)
            os.write(descriptors[3], b"%d" % os.waitstatus_to_exitcode(status))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(b"\n")


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = ["broker", *request["args"]]
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)


if __name__ == "__main__":
    # httpx imports httpcore at its first request, and `broker` imports a command when it is called.
    for module in (MODULE, "httpcore", "http_api.server.serve", *(f"http_api.cli.{module}" for module, _ in COMMANDS.values())):
        __import__(module)
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    del sys.modules[MODULE]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
