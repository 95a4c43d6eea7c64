"""Watches Redis Streams for growth: a few blocking XREADs, on their own connections, serve many streams."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from broker.errors import BrokerError
from broker.store.client import Store

logger = logging.getLogger("broker")
BLOCK_S = 20.0
RETRY_S = 0.2
# The most reads per Redis. Up to this number, each stream has its own read and disturbs no other.
READS = 6
# The pause per key before a shared read is sent again, so that sending takes a small share of the time.
REST_S = 25e-6
# How long a read stays open after its last listener has left.
LINGER_S = 2.0
# Tries, 1 ms apart, to interrupt a read that Redis has not started yet.
TRIES = 20

# New entries by stream. None: the connection is new, so earlier growth may have been missed.
Growth = dict[str, list[Any]] | None
Listener = Callable[[Growth], None]


async def last_id(store: Store, name: str) -> str:
    """The last id of a stream, `0-0` if it is empty."""
    last = await store.call("XREVRANGE", name, "+", "-", "COUNT", 1)
    return last[0][0].decode() if last else "0-0"


def order(message_id: str) -> tuple[int, int]:
    """A sort key of an id, for stream order."""
    ms, _, seq = message_id.partition("-")
    return int(ms), int(seq)


class Watch:
    """Waits for streams to grow. `at` maps each stream to the id after which growth counts.

    The streams must share a cluster slot.
    """

    def __init__(self, store: Store, at: dict[str, str], block_s: float = BLOCK_S) -> None:
        self.at = dict(at)
        self._key = next(iter(at))
        self._block_s = block_s
        self._others = store
        self._store = store.separate(block_s)
        self._client: int | None = None
        self._sent: dict[str, str] | None = None
        self._reading: asyncio.Future[dict[str, list[Any]]] | None = None

    async def growth(self) -> Growth:
        """Wait for growth, and advance `at`. Returns one entry of each stream that has grown, but all of a wake stream.

        Empty: nothing arrived before the read ended, or `interrupt` ended it.
        """
        if not self._store.connected:
            await self._connect()
            return None
        sent = self._sent = dict(self.at)
        try:
            self._reading = asyncio.ensure_future(self._blocking_read(sent, 1, "BLOCK", int(self._block_s * 1000)))
            grown = await self._reading
            self._sent = None
            if wakes := {name: grown[name][-1][0].decode() for name in grown if name.endswith(":wake")}:
                for name, entries in (await self._blocking_read(wakes, 1000)).items():
                    grown[name] += entries
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await self._store.close()  # see `interrupt`; entries that arrive meanwhile stay in the streams
            self._store = self._others.separate(self._block_s)
            await self._connect()
            return {}
        except BrokerError as exc:
            logger.debug("a waiting read was lost and will be made again: %s", exc)
            await asyncio.sleep(RETRY_S)
            await self._connect()
            return None
        finally:
            self._sent = None
        self.at.update((name, entries[-1][0].decode()) for name, entries in grown.items() if name in self.at)
        return grown

    async def _blocking_read(self, at: dict[str, str], count: int, *options: str | int) -> dict[str, list[Any]]:
        reply = await self._store.call("XREAD", "COUNT", count, *options, "STREAMS", *at, *at.values())
        return {name.decode(): entries for name, entries in reply or ()}

    async def _connect(self) -> None:
        """Return when the connection answers."""
        while True:
            try:
                await self._store.call("EXISTS", self._key)
                [client] = await self._store.pipeline(self._key, ("CLIENT", "ID"))
                self._client = client if isinstance(client, int) else None
                return
            except BrokerError:
                await asyncio.sleep(RETRY_S)

    def misses(self, at: dict[str, str]) -> bool:
        """Whether the current blocking read would miss growth after these ids."""
        sent = self._sent
        return sent is not None and not all(name in sent and order(sent[name]) <= order(id_) for name, id_ in at.items())

    async def interrupt(self) -> None:
        """End the blocking read: by CLIENT UNBLOCK or, if that is not allowed, by closing its connection."""
        sent = self._sent
        for _ in range(TRIES):
            try:
                [done] = await self._others.pipeline(self._key, ("CLIENT", "UNBLOCK", self._client or 0))
            except BrokerError:
                done = 0
            if self._sent is not sent or done == 1:
                return
            if isinstance(done, Exception) or self._client is None:
                break
            await asyncio.sleep(0.001)
        if self._sent is sent and self._reading is not None:
            self._reading.cancel()

    async def close(self) -> None:
        """Close the connection."""
        await self._store.close()


class _Read:
    """A blocking read shared by several listeners."""

    def __init__(self, store: Store, at: dict[str, str]) -> None:
        self.listeners: defaultdict[str, dict[Listener, None]] = defaultdict(dict)
        self._watch = Watch(store, at, LINGER_S)
        self._added = asyncio.Event()
        self._interrupting: asyncio.Task[None] | None = None

    def add(self, at: dict[str, str], listener: Listener) -> None:
        for name, id_ in at.items():
            self.listeners[name][listener] = None
            self._watch.at[name] = min(id_, self._watch.at.get(name, id_), key=order)
        self._added.set()
        if self._watch.misses(at) and (self._interrupting is None or self._interrupting.done()):
            self._interrupting = asyncio.create_task(self._watch.interrupt())

    def drop(self, at: dict[str, str], listener: Listener) -> None:
        for name in at:
            self.listeners[name].pop(listener, None)
            if not self.listeners[name]:
                del self.listeners[name]
                self._watch.at.pop(name, None)

    async def run(self, ended: Callable[[], object]) -> None:
        """Read until no listener is left."""
        try:
            while self.listeners or await self._anybody():
                grown = await self._watch.growth()
                for listener in {
                    listener: None for name in (self.listeners if grown is None else grown) for listener in self.listeners.get(name, ())
                }:
                    listener(grown)
                await asyncio.sleep(REST_S * len(self.listeners))
        finally:
            ended()  # at once, so that no listener is added any more
            if self._interrupting is not None:
                self._interrupting.cancel()
            await self._watch.close()

    async def _anybody(self) -> bool:
        self._added.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._added.wait()
        return bool(self.listeners)


class Reads:
    """A few blocking reads that notify many listeners of growth. In a cluster, each read covers one slot."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reads: defaultdict[Hashable, dict[_Read, asyncio.Task[None]]] = defaultdict(dict)

    def expect(self, at: dict[str, str], listener: Listener) -> Callable[[], None]:
        """Call `listener` whenever a stream grows after its id. Returns a function that ends this."""
        first = next(iter(at))
        group = self._store.read_group(first)
        reads = self._reads[group]
        read = min(reads, key=lambda read: -1 if first in read.listeners else len(read.listeners), default=None)
        if read is None or (read.listeners and first not in read.listeners and group is None and len(reads) < READS):
            read = _Read(self._store, at)
            reads[read] = asyncio.create_task(read.run(partial(self._ended, group, read)), name="broker-watch")
        read.add(at, listener)
        return partial(read.drop, at, listener)

    def _ended(self, group: Hashable, read: _Read) -> None:
        del self._reads[group][read]
        if not self._reads[group]:
            del self._reads[group]

    async def close(self) -> None:
        """End the reads."""
        tasks = [task for reads in self._reads.values() for task in reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
