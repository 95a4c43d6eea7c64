"""Worker processes over one listening socket: started, replaced when they die or hang, and ended with their parent."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

from http_api.monitoring import metrics

logger = logging.getLogger("broker")
# Of the 10 s that C45 gives: what is still running then is killed.
END_S = 9.0
# A worker that died sooner after its start than this is started again later and later.
HEALTHY_S = 3.0
LONGEST_PAUSE_S = 10.0
_LOOK_S = 0.1
# A worker beats once in BEAT_S. One that was silent for so many looks hangs, and is killed. Looks are counted, not seconds: while
# the parent itself is stopped, nobody is silent.
BEAT_S = 1.0
HUNG_LOOKS = 300


class Worker:
    """One worker process after another."""

    def __init__(self, command: list[str], environment: dict[str, str], listener: int) -> None:
        self._command, self._environment, self._listener = command, environment, listener
        self._pause = 0.0
        self._start_at: float | None = None
        self._start()

    def _start(self) -> None:
        # The worker reads its standard input to learn that this process is gone; nothing is ever written to it.
        # On its standard output it beats.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            self._command, env=self._environment, pass_fds=(self._listener,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self.process.stdout is not None  # noqa: S101 - asked for
        os.set_blocking(self.process.stdout.fileno(), False)
        self._silent = 0
        self._start_at = None
        self._started = time.monotonic()

    def keep(self) -> None:
        """Kill the worker when it hangs. Start it again when it has died: at once, or after a pause when it did not live long."""
        status = self.process.poll()
        if status is None:
            self._silent = 0 if self._has_beaten() else self._silent + 1
            if self._silent == HUNG_LOOKS:
                logger.error("worker %d hangs: no sign of life for %.0f s; killing it", self.process.pid, HUNG_LOOKS * _LOOK_S)
                self.process.kill()
            return
        now = time.monotonic()
        if self._start_at is None:
            self.forget()
            lived = now - self._started
            self._pause = 0.0 if lived >= HEALTHY_S else min(LONGEST_PAUSE_S, max(0.5, 2 * self._pause))
            self._start_at = now + self._pause
            logger.warning("worker %d ended with %d after %.1f s; starting another in %.1f s", self.process.pid, status, lived, self._pause)
        if now >= self._start_at:
            self._start()

    def _has_beaten(self) -> bool:
        """Whether the worker has beaten since the last look."""
        assert self.process.stdout is not None  # noqa: S101 - asked for at its start
        return bool(self.process.stdout.read(4096))

    def forget(self) -> None:
        """Give back what is left of a process that has ended."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None  # noqa: S101 - asked for at its start
            pipe.close()
        metrics.process_ended(self.process.pid, self._environment)

    def end(self, deadline: float) -> None:
        """Wait for the end of a process that was asked to stop; kill it at the deadline."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.error("worker %d did not stop in time; killing it", self.process.pid)
            self.process.kill()
            self.process.wait()
        self.forget()


def supervise(count: int, listener: socket.socket, environment: dict[str, str]) -> None:
    """Run `count` workers until a signal comes; then let them finish."""
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    command = [sys.executable, "-m", "http_api.server.worker", str(listener.fileno())]
    workers = [Worker(command, environment, listener.fileno()) for _ in range(count)]
    try:
        while not stopping:
            time.sleep(_LOOK_S)
            for worker in workers:
                if not stopping:
                    worker.keep()
    finally:
        # Held open here, it would take connections that nobody answers until this process ends.
        listener.close()
        deadline = time.monotonic() + END_S
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end(deadline)
        for number, handler in before.items():
            signal.signal(number, handler)


def beat() -> None:
    """In a worker: a sign of life for the supervisor."""
    with contextlib.suppress(BrokenPipeError):  # it is gone, as `end_with_parent` notices too
        os.write(sys.stdout.fileno(), b".")


def end_with_parent() -> None:
    """In a worker: stop as on SIGTERM when the parent is gone, so that a killed `serve` leaves nobody on its port."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="broker-parent").start()
