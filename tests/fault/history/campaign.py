"""Rounds under faults, one after the other, on real servers; and the figures of all of them."""

import asyncio
import os
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from broker import Store
from broker.store.embedded import Embedded
from tests.fault.history.check import violations
from tests.fault.history.faults import Fault, Stage
from tests.fault.history.lanes import Plain
from tests.fault.history.operations import History
from tests.fault.history.recorder import Recorder
from tests.fault.history.rounds import play
from tests.support.api import HttpApi
from tests.support.cutting import proxy
from tests.support.functions import broker_by_functions, load_library
from tests.support.library_api import LibraryApi
from tests.support.processes import ServeProcess, free_port

MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a directory of its own is made there
# Called after each round.
Judged = Callable[[History, list[str]], None]


@dataclass
class Figures:
    """What a campaign came to."""

    rounds: int = 0
    operations: Counter[str] = field(default_factory=Counter)  # by kind and outcome
    messages: int = 0
    deliveries: int = 0
    violations: list[str] = field(default_factory=list)
    back: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # by kind of fault, seconds

    def add(self, history: History, faults: list[Fault], broken: list[str]) -> None:
        """Count a round in."""
        self.rounds += 1
        for op in history.operations:
            self.operations[f"{type(op).__name__} {op.outcome}"] += 1
            self.deliveries += len(getattr(op, "deliveries", ()))
        self.messages += sum(len(held) for held in history.rest.held.values())
        self.violations += broken
        for fault in faults:
            self.back[fault.kind].append(until_back(history, fault))

    def table(self) -> str:
        """As docs/faults.md shows it."""
        faults = sum(len(times) for times in self.back.values())
        lines = [
            f"{self.rounds} rounds, {faults} faults, {self.operations.total():,} operations, "
            f"{self.messages:,} messages, {self.deliveries:,} deliveries, {len(self.violations)} violations",
            "",
            "| operation | ok | fail: nothing happened | unknown |",
            "|---|---:|---:|---:|",
        ]
        for kind in sorted({key.split()[0] for key in self.operations}):
            lines.append(f"| {kind} | " + " | ".join(f"{self.operations[f'{kind} {o}']:,}" for o in ("ok", "fail", "unknown")) + " |")
        lines += ["", "| fault | times | back after, s: median | longest |", "|---|---:|---:|---:|"]
        for kind, times in sorted(self.back.items()):
            lines.append(f"| {kind} | {len(times)} | {statistics.median(times):.2f} | {max(times):.2f} |")
        return "\n".join(lines)


def until_back(history: History, fault: Fault) -> float:
    """Seconds from the end of a fault until every lane that it is about has answered a call that was made after it."""
    first = dict.fromkeys(fault.lanes, float("inf"))
    for op in history.operations:
        if op.ok and op.began >= fault.ended and op.lane in first:
            first[op.lane] = min(first[op.lane], op.ended)
    return max(first.values()) - fault.ended


@asynccontextmanager
async def stage(binary: str | None, seed: int, directory: Path | None) -> AsyncIterator[tuple[Stage, Callable[[], Recorder]]]:
    """Two servers over one Redis with an append-only file, and what makes a recorder with lanes to all of them."""
    async with AsyncExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="bh-", dir=directory))
        valkey = Embedded(Path(made) / "d", binary)
        valkey.start()
        stack.callback(valkey.stop)
        load_library(valkey.url)
        between, url = await stack.enter_async_context(proxy(valkey.socket))
        servers = []
        for redis_url in (valkey.url, url):
            servers.append(server := await _started(redis_url))
            stack.callback(_end, server)
        by_functions, plain = broker_by_functions(valkey.url), Store.from_url(valkey.url)
        stack.push_async_callback(by_functions.close)
        stack.push_async_callback(plain.close)
        limits = httpx.Limits(max_connections=None)
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=s.url, timeout=15, limits=limits)) for s in servers]
        http = {f"http-{i}": HttpApi(client) for i, client in enumerate(clients)}
        yield (
            Stage(valkey, servers, between, random.Random(seed)),
            lambda: Recorder({**http, "functions": LibraryApi(by_functions)}, Plain(plain)),
        )


async def _started(redis_url: str) -> ServeProcess:
    def start() -> ServeProcess:
        return ServeProcess("--port", str(free_port()), "--redis", redis_url).wait_ready()

    return await asyncio.to_thread(start)


def _end(server: ServeProcess) -> None:
    if server.process.poll() is None:
        server.kill()


async def campaign(
    binary: str | None,
    seconds: float,
    *,
    a_round: float = 20.0,
    seed: int = 0,
    directory: Path | None = MEMORY,
    judged: Judged | None = None,
) -> Figures:
    """Rounds for so many seconds of load in all, each with faults. RuntimeError: the clock was set.

    Redis' files lie in `directory`, by default in memory. On a slow disk, an append-only file that is synced every
    second loses answered writes just before a kill (docs/faults.md).
    """
    figures, played = Figures(), 0.0
    async with stage(binary, seed, directory) as (scene, recorder):
        while played < seconds:
            length = min(a_round, seconds - played)
            played += length
            scene.faults.clear()
            name = f"r{figures.rounds}"
            disturb = partial(scene.disturb, length)
            history = await play(recorder(), name, length, seed=seed + figures.rounds, disturb=disturb)
            broken = [str(violation) for violation in await asyncio.to_thread(violations, history)]
            figures.add(history, scene.faults, broken)
            if judged is not None:
                judged(history, broken)
    return figures
