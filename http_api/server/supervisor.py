"""Supervisor: starts worker processes on one listening socket, replaces dead or hanging ones, and ends them."""

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
# A part of the 10 s that C45 allows. Then remaining workers are killed.
END_S = 9.0
# If a worker dies sooner than this after its start, the pause before its restart grows.
HEALTHY_S = 3.0
LONGEST_PAUSE_S = 10.0
_LOOK_S = 0.1
# A worker sends a heartbeat every BEAT_S. A worker that was silent for this many checks hangs, and is killed. Checks
# are counted, not seconds, because the supervisor itself may be paused.
BEAT_S = 1.0
HUNG_LOOKS = 300


class Worker:
    """A worker process, and its successors."""

    def __init__(self, command: list[str], environment: dict[str, str], listener: int) -> None:
        self._command, self._environment, self._listener = command, environment, listener
        self._pause = 0.0
        self._start_at: float | None = None
        self._start()

    def _start(self) -> None:
        # Standard input stays empty: its end tells the worker that this process has died. Standard output carries the
        # heartbeat.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            self._command, env=self._environment, pass_fds=(self._listener,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self.process.stdout is not None  # noqa: S101 - asked for
        os.set_blocking(self.process.stdout.fileno(), False)
        self._silent = 0
        self._start_at = None
        self._started = time.monotonic()

    def keep(self) -> None:
        """Kill the worker if it hangs.

        Restart it if it has died: at once, or after a pause if it did not live long.
        """
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
        """Whether a heartbeat arrived since the last check."""
        assert self.process.stdout is not None  # noqa: S101 - asked for at its start
        return bool(self.process.stdout.read(4096))

    def forget(self) -> None:
        """Close the pipes of an ended process."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None  # noqa: S101 - asked for at its start
            pipe.close()
        metrics.process_ended(self.process.pid, self._environment)

    def end(self, deadline: float) -> None:
        """Wait for a process that was asked to stop; kill it at the deadline."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.error("worker %d did not stop in time; killing it", self.process.pid)
            self.process.kill()
            self.process.wait()
        self.forget()


def supervise(count: int, listener: socket.socket, environment: dict[str, str]) -> None:
    """Run `count` workers until a signal arrives, then let them finish."""
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
        # If it stayed open here, it would accept connections that nobody answers until this process ends.
        listener.close()
        deadline = time.monotonic() + END_S
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end(deadline)
        for number, handler in before.items():
            signal.signal(number, handler)


def beat() -> None:
    """In a worker: send a heartbeat to the supervisor."""
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, which `end_with_parent` notices too
        os.write(sys.stdout.fileno(), b".")


def end_with_parent() -> None:
    """In a worker: stop as on SIGTERM if the parent dies, so that a killed `serve` leaves no worker on its port."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="broker-parent").start()
