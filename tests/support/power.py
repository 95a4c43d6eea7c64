"""Power failures: a server on a disk that forgets what was not synced. Linux, with a C compiler."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis

from tests.support.processes import ServeProcess, valkey_pid

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
PUBLISHERS = 8
STREAMS = {"durable-events": "events", "durable-records": "records"}


def cut_to_what_was_synced(directory: Path, log: Path) -> int:
    """Cut each file of a directory to the length that an fsync had reached; gives how many bytes are lost.

    A new name keeps what is synced: Redis syncs a temporary file before it renames it, and the directory after that.
    """
    reached: dict[int, tuple[int, str]] = {}
    for line in log.read_text().splitlines():
        inode, size, path = line.split(" ", 2)
        reached[int(inode)] = int(size), path
    lost = 0
    for file in directory.iterdir():
        status = file.stat()
        synced, path = reached.get(status.st_ino, (0, ""))
        if path != str(file) and not Path(path).name.startswith("temp-"):
            synced = 0  # nothing of it, or of another file that had the inode before
        os.truncate(file, min(synced, status.st_size))
        lost += max(0, status.st_size - synced)
    return lost


class Machine:
    """A `broker serve` over its embedded Valkey, on a disk that forgets what was not synced when the power fails."""

    def __init__(self, directory: Path, sync_us: int = 0) -> None:
        self.data_dir = directory / "d"
        self._socket = self.data_dir / "valkey.sock"
        self._log = directory / "synced"
        library = directory / "synced.so"
        source = Path(__file__).with_name("synced.c")
        assert COMPILER is not None
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
        self._environ = {"LD_PRELOAD": str(library), "SYNCED": str(self._log)}
        if sync_us:
            self._environ["SYNC_US"] = str(sync_us)
        self.start()

    @property
    def url(self) -> str:
        """Where the server listens."""
        return self._server.url

    def start(self) -> None:
        """Start the server; returns when it is ready."""
        self._server = ServeProcess("--port", "0", "--data-dir", str(self.data_dir), environ=self._environ).wait_ready()

    def redis(self, *command: str) -> Any:
        """Run a command on the embedded Valkey."""
        with redis.Redis(unix_socket_path=str(self._socket), decode_responses=True) as client:
            return client.execute_command(*command)

    def fail(self) -> int:
        """The power fails; gives how many bytes were written and are lost."""
        child = valkey_pid(self.data_dir)
        os.kill(self._server.process.pid, signal.SIGSTOP)  # else it would start its Valkey again
        os.kill(child, signal.SIGKILL)
        self._server.kill()
        with contextlib.suppress(ConnectionRefusedError):
            while True:  # until the last of its threads is gone
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(self._socket))
        return cut_to_what_was_synced(self.data_dir / "appendonlydir", self._log)

    def stop(self) -> None:
        """Stop the server."""
        self._server.terminate()


@contextlib.contextmanager
def machine(sync_us: int = 0) -> Iterator[Machine]:
    """A machine with an empty disk."""
    with tempfile.TemporaryDirectory(prefix="bp-") as directory:
        found = Machine(Path(directory), sync_us)
        try:
            yield found
        finally:
            found.stop()


@dataclass
class Seen:
    """What publishers were answered, and what was found lost. A message is named by its `data`."""

    answered: dict[str, set[str]] = field(default_factory=lambda: {stream: set() for stream in STREAMS})
    statuses: Counter[int] = field(default_factory=Counter)
    lost: set[str] = field(default_factory=set)
    bytes_lost: int = 0


def create(url: str, *, fsync: bool) -> None:
    """Make the streams."""
    for stream, kind in STREAMS.items():
        httpx.post(url + "/v1/streams", json={"name": stream, "kind": kind, "fsync": fsync}).raise_for_status()


async def _publisher(client: httpx.AsyncClient, stream: str, name: str, seen: Seen) -> None:
    """Publish one request after the other, until the server is gone."""
    key = "id" if STREAMS[stream] == "events" else "upstream_id"
    for n in itertools.count():
        names = [f"{name}-{n}-{i}" for i in range(1 if n % 2 else 5)]
        messages = [{"collection_id": "a:b", key: each, "data": each} for each in names]
        try:
            reply = await client.post(f"/v1/streams/{stream}/messages", json={"messages": messages})
        except httpx.HTTPError:
            return
        seen.statuses[reply.status_code] += 1
        if reply.status_code == 200:
            seen.answered[stream] |= set(names)


async def load_and_fail(found: Machine, name: str, seconds: float, seen: Seen) -> None:
    """Publish to all streams, with two rewrites of the file; after so many seconds the power fails."""
    streams = itertools.cycle(STREAMS)
    async with httpx.AsyncClient(base_url=found.url, timeout=30) as client:
        tasks = [asyncio.create_task(_publisher(client, next(streams), f"{name}-{n}", seen)) for n in range(PUBLISHERS)]
        for _ in range(2):
            await asyncio.sleep(seconds * 0.4)
            await asyncio.to_thread(found.redis, "BGREWRITEAOF")
        await asyncio.sleep(seconds * 0.2)
        seen.bytes_lost += await asyncio.to_thread(found.fail)
        await asyncio.gather(*tasks)


def held(url: str, stream: str, after: str = "") -> tuple[set[str], str]:
    """The `data` of a stream's messages after a message, and the last one's id."""
    found: set[str] = set()
    with httpx.Client(base_url=url, timeout=30) as client:
        while True:
            page = {"limit": "1000"} | ({"after": after} if after else {})
            reply = client.get(f"/v1/streams/{stream}/messages", params=page)
            rows = reply.raise_for_status().json()["data"]
            if not rows:
                return found, after
            found |= {(row.get("event") or row["record"])["data"] for row in rows}
            after = rows[-1]["id"]


def failures(found: Machine, count: int, seconds: float) -> Seen:
    """So many power failures under load, each followed by a look at what is there; in the end at all of it."""
    seen, after, before = Seen(), dict.fromkeys(STREAMS, ""), {stream: set[str]() for stream in STREAMS}
    for n in range(count):
        asyncio.run(load_and_fail(found, str(n), seconds, seen))
        found.start()
        for stream, answered in seen.answered.items():
            new, after[stream] = held(found.url, stream, after[stream])
            seen.lost |= answered - before[stream] - new
            before[stream] |= answered
    for stream, answered in seen.answered.items():
        seen.lost |= answered - held(found.url, stream)[0]
    return seen
