"""What people really have: servers and Redis that are killed, halted or restarted, and connections that are cut."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from broker.store.embedded import Embedded
from tests.support.cutting import Proxy
from tests.support.polling import until
from tests.support.processes import ServeProcess

# A Redis that stands still for longer than its clients' time limit, 5 s, now and then.
HALTS_S = (0.2, 0.5, 1.0, 2.0)
LONG_HALT_S = 6.0


@dataclass(frozen=True)
class Fault:
    """One disturbance. `ended`: from here on nothing is in the way of service but what the fault left."""

    kind: str
    lanes: tuple[str, ...]
    ended: float


def start_again(server: ServeProcess, seconds: float = 60.0) -> None:
    """As a process manager does: a server ends at its start where Redis is loading, and is started until it runs."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            server.restart()
        except RuntimeError:
            server.kill()  # it has ended
            if time.monotonic() > deadline:
                raise
        else:
            return


@dataclass
class Stage:
    """Two servers over one Redis, the second through a proxy that cuts; and what was done to them."""

    valkey: Embedded
    servers: list[ServeProcess]
    proxy: Proxy
    random: random.Random
    faults: list[Fault] = field(default_factory=list)

    @property
    def lanes(self) -> tuple[str, ...]:
        """All ways to the broker."""
        return *(f"http-{i}" for i in range(len(self.servers))), "functions", "plain"

    async def disturb(self, seconds: float) -> None:
        """One fault after the other for so long; returns when all servers are ready."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(self.random.uniform(0.5, 2.5))
            await self.random.choice(self._kinds())()
        for server in self.servers:
            await asyncio.to_thread(server.wait_ready)

    def _kinds(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self._kill_server, self._restart_server, self._halt_server,
            self._kill_redis, self._kill_redis, self._restart_redis, self._halt_redis, self._halt_redis,
            self._cut_all, self._cut_all, self._cut_after, self._cut_before, self._flush_scripts,
        ]  # fmt: skip

    def _note(self, kind: str, *lanes: str) -> None:
        self.faults.append(Fault(kind, lanes or self.lanes, time.time()))

    async def _kill_server(self) -> None:
        i = self.random.randrange(len(self.servers))
        self._note("server: kill -9, started again", f"http-{i}")
        await asyncio.to_thread(self.servers[i].kill)
        await asyncio.to_thread(start_again, self.servers[i])

    async def _restart_server(self) -> None:
        i = self.random.randrange(len(self.servers))
        self._note("server: SIGTERM, started again", f"http-{i}")
        assert await asyncio.to_thread(self.servers[i].terminate) == 0
        await asyncio.to_thread(start_again, self.servers[i])

    async def _halt_server(self) -> None:
        i = self.random.randrange(len(self.servers))
        await self._halt(self.servers[i].process.pid, self.random.choice(HALTS_S))
        self._note("server: SIGSTOP, SIGCONT", f"http-{i}")

    async def _halt_redis(self) -> None:
        assert self.valkey.pid is not None
        long = self.random.random() < 0.15
        await self._halt(self.valkey.pid, LONG_HALT_S if long else self.random.choice(HALTS_S))
        self._note("Redis: SIGSTOP for 6 s, SIGCONT" if long else "Redis: SIGSTOP for up to 2 s, SIGCONT")

    async def _halt(self, pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _kill_redis(self) -> None:
        """Its keeper starts it again."""
        await self._end_redis("Redis: kill -9, started again", signal.SIGKILL)

    async def _restart_redis(self) -> None:
        await self._end_redis("Redis: SIGTERM, started again", signal.SIGTERM)

    async def _end_redis(self, kind: str, how: signal.Signals) -> None:
        pid = self.valkey.pid
        assert pid is not None
        self._note(kind)
        os.kill(pid, how)
        await asyncio.to_thread(until, lambda: self.valkey.pid != pid, "Redis is started again")

    async def _cut_all(self) -> None:
        """Every connection to Redis, in the middle of traffic."""
        self._note("all connections to Redis cut")
        await self._tell("CLIENT", "KILL", "TYPE", "normal")

    async def _cut_after(self) -> None:
        await self._cut(deliver=True)

    async def _cut_before(self) -> None:
        await self._cut(deliver=False)

    async def _cut(self, *, deliver: bool) -> None:
        self.proxy.cut_at(b"EVALSHA", deliver=deliver)
        self._note(f"connection cut {'after' if deliver else 'before'} Redis got a command", "http-1")

    async def _flush_scripts(self) -> None:
        self._note("Redis: SCRIPT FLUSH")
        await self._tell("SCRIPT", "FLUSH")

    async def _tell(self, *command: str) -> None:
        def tell() -> None:
            with (
                suppress(redis.RedisError),
                redis.Redis(unix_socket_path=str(self.valkey.socket), socket_timeout=5) as client,
            ):
                client.execute_command(*command)

        await asyncio.to_thread(tell)
