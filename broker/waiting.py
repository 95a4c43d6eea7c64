"""Waiting calls of `next`: who waits, what wakes them, and in which order they are served (C21).

A waiting call holds no message. Calls of one consumer stand in a queue; the queue is polled, first come first served,
when its stream grows, when a script tells that something became deliverable, and when the time comes that the last
poll foretold. Ten thousand waiting calls cost one poll, not ten thousand, and each stream one blocking read.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from broker import keys
from broker.batches import Batch, Nack
from broker.delivery import Deliveries
from broker.engine import Engine
from broker.errors import BrokerError, ConsumerNotFound, OutcomeUnknown, StoreUnavailable, TooManyWaiting
from broker.watching import Watch, last_id

# A plain client's XACK makes room under max_ack_pending and tells nobody: look again after this long at the latest.
LOOK_AGAIN_S = 5.0
RETRY_MS = 200
# After growth that no waiting call could use, others get this long to come together.
PAUSE_S = 0.005
# So long a waiting call of a paused consumer is held, so that its workers do not ask all the time.
PAUSED_S = 1.0


# Returns when the caller has gone away.
Gone = Callable[[], Coroutine[Any, Any, None]]


class CallerGone(Exception):
    """The caller went away while it waited; it took no message with it."""


class _Waiter:
    def __init__(self, batch_size: int, min_batch: int) -> None:
        self.batch_size = batch_size
        self.min_batch = min_batch
        self.answer: asyncio.Future[Batch | None] = asyncio.get_running_loop().create_future()
        self.polled = False
        self.over = False


class _Queue:
    """The waiting calls of one consumer."""

    def __init__(self, consumer: str, deliveries: Deliveries) -> None:
        self.consumer = consumer
        self.waiters: deque[_Waiter] = deque()
        self.seen = "0-0"
        self.polling: asyncio.Task[None] | None = None
        self._deliveries = deliveries
        self._dirty = False
        self._timer: asyncio.TimerHandle | None = None

    def poke(self) -> None:
        """Something may have become deliverable."""
        self._dirty = True
        if self.polling is None or self.polling.done():
            self.polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while self._dirty and self.waiters:
            self._dirty = False
            try:
                await self._serve()
            except (StoreUnavailable, OutcomeUnknown):
                # Nobody need know: Redis may be back before their time is over, and what may have been delivered to
                # nobody waits out its ack wait, whatever is answered here.
                self._look_again_in(RETRY_MS)
            except BrokerError as exc:
                for waiter in self.waiters:
                    if not waiter.answer.done():
                        waiter.answer.set_exception(exc)
                self.waiters.clear()

    async def _serve(self) -> None:
        """Serve waiters until one gets nothing; behind it only those have a chance that ask for a smaller batch."""
        unmet = math.inf
        for waiter in list(self.waiters):
            if waiter.over or waiter.answer.done() or waiter.min_batch >= unmet:
                continue
            batch = await self._ask(waiter)
            if batch.deliveries:
                self._remove(waiter)
                await self._hand_over(waiter, batch)
                continue
            self.seen = batch.seen
            self._look_again_in(batch.due_in_ms)
            if batch.paused:
                self._end_all()
                return
            if waiter.over and not waiter.answer.done():
                waiter.answer.set_result(None)
            unmet = waiter.min_batch
            if unmet <= 1:
                return

    async def _ask(self, waiter: _Waiter) -> Batch:
        waiter.polled = True
        try:
            return await self._deliveries.next(self.consumer, waiter.batch_size, waiter.min_batch)
        except (StoreUnavailable, OutcomeUnknown):
            if waiter.over and not waiter.answer.done():
                waiter.answer.set_result(None)
            raise
        finally:
            waiter.polled = False

    async def _hand_over(self, waiter: _Waiter, batch: Batch) -> None:
        if not waiter.answer.done():
            waiter.answer.set_result(batch)
            return
        await self._deliveries.release(self.consumer, batch)
        self._dirty = True

    def _look_again_in(self, due_in_ms: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = LOOK_AGAIN_S if due_in_ms is None else min(LOOK_AGAIN_S, due_in_ms / 1000)
        self._timer = asyncio.get_running_loop().call_later(seconds, self.poke)

    def _remove(self, waiter: _Waiter) -> None:
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def add(self, waiter: _Waiter) -> None:
        """Stand in the queue; what may have become deliverable since the caller looked is looked for again."""
        self.waiters.append(waiter)
        self.poke()

    async def wait(self, waiter: _Waiter, seconds: float, gone: Gone | None) -> Batch | None:
        """Wait for the waiter's batch; None: the time is over, and no message was taken. CallerGone: `gone` returned."""
        leaving = asyncio.create_task(gone()) if gone is not None else None
        try:
            await asyncio.wait(
                (waiter.answer,) if leaving is None else (waiter.answer, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            waiter.over = True
            if leaving is not None and leaving.done():
                raise CallerGone
            if waiter.polled or waiter.answer.done():
                return await waiter.answer
            return None
        except (asyncio.CancelledError, CallerGone):
            if waiter.answer.done() and not waiter.answer.exception() and (batch := waiter.answer.result()) is not None:
                await asyncio.shield(self._deliveries.release(self.consumer, batch))
            waiter.answer.cancel()
            raise
        finally:
            if leaving is not None:
                leaving.cancel()
            waiter.over = True
            self._remove(waiter)

    def close(self) -> None:
        """End all waiting calls empty, and look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._end_all()

    def _end_all(self) -> None:
        for waiter in self.waiters:
            waiter.over = True
            if not waiter.polled and not waiter.answer.done():
                waiter.answer.set_result(None)


class _StreamWatch:
    """The queues of one stream, and the blocking read that wakes them."""

    def __init__(self, engine: Engine, stream: str, wake_at: str) -> None:
        self.queues: dict[str, _Queue] = {}
        self._log, self._wake = keys.log(stream), keys.wake(stream)
        self._watch = Watch(engine.store, {self._log: "0-0", self._wake: wake_at}, count=1)
        self._wanted = asyncio.Event()
        self.task = asyncio.create_task(self._run(), name=f"broker-watch-{stream}")

    def want(self) -> None:
        """There are waiting calls."""
        self._wanted.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                active = self._active()
                if not active:
                    self._wanted.clear()
                    continue
                self._watch.at[self._log] = max(self._watch.at[self._log], min((q.seen for q in active), key=_order), key=_order)
                await self._tell(await self._watch.growth())
        finally:
            await self._watch.close()

    async def _tell(self, grown: dict[str, list[object]]) -> None:
        active = self._active()
        if grown and self._log not in grown:
            names = {entry[1][1].decode() for entry in grown[self._wake]}  # type: ignore[index]
            active = [queue for queue in active if queue.consumer in names or "" in names]
        before = sum(len(queue.waiters) for queue in active)
        for queue in active:
            queue.poke()
        await asyncio.gather(*(queue.polling for queue in active if queue.polling is not None))
        if active and sum(len(queue.waiters) for queue in active) >= before:
            await asyncio.sleep(PAUSE_S)

    def _active(self) -> list[_Queue]:
        self.queues = {name: queue for name, queue in self.queues.items() if queue.waiters}
        return list(self.queues.values())


async def _hold(seconds: float, gone: Gone | None) -> None:
    """Let time pass. CallerGone: `gone` returned in it."""
    if gone is None:
        await asyncio.sleep(seconds)
        return
    leaving = asyncio.create_task(gone())
    try:
        await asyncio.wait((leaving,), timeout=seconds)
        if leaving.done():
            raise CallerGone
    finally:
        leaving.cancel()


def _order(message_id: str) -> tuple[int, int]:
    ms, _, seq = message_id.partition("-")
    return int(ms), int(seq)


class Waiting:
    """The waiting calls of one server or process."""

    def __init__(self, engine: Engine, deliveries: Deliveries) -> None:
        self._engine = engine
        self._deliveries = deliveries
        self._streams: dict[str, _StreamWatch] = {}
        self._opening = asyncio.Lock()
        self._draining = False

    @property
    def count(self) -> int:
        """How many calls wait now."""
        return sum(len(queue.waiters) for watch in self._streams.values() for queue in watch.queues.values())

    async def next(
        self,
        consumer: str,
        batch_size: int = 1,
        min_batch: int = 1,
        wait_ms: int = 0,
        ack: Sequence[str] = (),
        nack: Sequence[Nack] = (),
        gone: Gone | None = None,
    ) -> Batch:
        """Settle and deliver up to `batch_size` messages, waiting up to `wait_ms` until `min_batch` are deliverable.

        TooManyWaiting: max_waiting calls of the consumer wait here already. CallerGone: `gone` returned while it waited.
        A call that has settled something does not fail any more: its caller would take that for not done.
        """
        waits = wait_ms > 0 and not self._draining
        batch = await self._deliveries.next(consumer, batch_size, min_batch if waits else 1, ack, nack)
        if batch.deliveries or not waits:
            return batch
        try:
            answer = await self._wait(consumer, batch_size, min_batch, wait_ms / 1000, batch, gone)
        except BrokerError:
            if not ack and not nack:
                raise
            return batch
        return msgspec.structs.replace(answer, settled=batch.settled) if answer is not None else batch

    async def _wait(
        self, consumer: str, batch_size: int, min_batch: int, seconds: float, batch: Batch, gone: Gone | None
    ) -> Batch | None:
        """Wait in the consumer's queue after an empty batch; None: the time is over, and there is nothing newer to tell."""
        if batch.paused:
            held = min(seconds, PAUSED_S)
            await _hold(held, gone)
            seconds -= held
            if self._draining:
                return None
            batch = await self._deliveries.next(consumer, batch_size, min_batch if seconds > 0 else 1)
            if batch.deliveries or batch.paused or seconds <= 0:
                return batch
        watch = await self._watch_of(consumer)
        queue = watch.queues.get(consumer)
        if queue is None:
            queue = watch.queues[consumer] = _Queue(consumer, self._deliveries)
        if len(queue.waiters) >= batch.max_waiting:
            raise TooManyWaiting(f"{batch.max_waiting} calls of the consumer {consumer!r} wait already; try again later.")
        queue.seen = batch.seen
        waiter = _Waiter(batch_size, min_batch)
        queue.add(waiter)
        watch.want()
        answer = await queue.wait(waiter, seconds, gone)
        return answer if answer is not None or self._draining else await self._deliveries.next(consumer, batch_size)

    async def _watch_of(self, consumer: str) -> _StreamWatch:
        stream = await self._engine.stream_of(consumer)
        if stream is None:
            raise ConsumerNotFound(f"There is no consumer {consumer!r}.")
        async with self._opening:
            if stream not in self._streams:
                wake_at = await last_id(self._engine.store, keys.wake(stream))
                self._streams[stream] = _StreamWatch(self._engine, stream, wake_at)
        return self._streams[stream]

    def drain(self) -> None:
        """End waiting calls empty, and let none wait from now on (C45)."""
        self._draining = True
        for watch in self._streams.values():
            for queue in watch.queues.values():
                queue.close()

    async def close(self) -> None:
        """Drain, and give up the blocking reads."""
        self.drain()
        tasks = [watch.task for watch in self._streams.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
