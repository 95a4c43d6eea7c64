"""Waiting calls of `next` (C21): one queue for each consumer, and what wakes it. The queue keeps the order.

A waiting call holds no message. The calls of a consumer wait in a queue. The first call is tried when the stream grows,
when a script reports a deliverable message, and when a message becomes due. So ten thousand waiting calls cost one
look, not ten thousand. While messages remain, several calls are tried at once and share scripts (0011).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from broker.commands.engine import Engine
from broker.consumers.batches import Batch, Nack
from broker.consumers.delivery import Deliveries
from broker.consumers.waiting_queue import CallerGone, Queue, Waiter
from broker.errors import BrokerError, OutcomeUnknown, TooManyWaiting
from broker.store.watch import Reads

logger = logging.getLogger("broker")
# How long a call to a paused consumer is held, so that its workers do not poll continuously.
PAUSED_S = 1.0

# Returns when the caller has disconnected.
Gone = Callable[[], Coroutine[Any, Any, None]]
# Receives seconds.
Waited = Callable[[float], None]


class Waiting:
    """The waiting calls of one server process."""

    def __init__(self, engine: Engine, deliveries: Deliveries) -> None:
        self.store = engine.store
        self.deliveries = deliveries
        self.reads = Reads(engine.store)
        self._queues: dict[str, Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    @property
    def count(self) -> int:
        """How many calls wait now."""
        return sum(map(len, self._queues.values()))

    async def fetch_or_wait(
        self, consumer: str, batch_size: int = 1, min_batch: int = 1, wait_ms: int = 0, ack: Sequence[str] = (),
        nack: Sequence[Nack] = (), gone: Gone | None = None, worker: str = "", waited: Waited | None = None,
    ) -> Batch:  # fmt: skip
        """Settle and deliver up to `batch_size` messages, waiting up to `wait_ms` until `min_batch` are deliverable.

        `waited` receives the seconds of each wait, once or twice. The call returns an empty batch if `gone` returns
        while it waits. TooManyWaiting: max_waiting calls of the consumer already wait here. A call that has settled
        something does not fail afterwards, because its caller would assume that nothing was settled. If it may have
        delivered something, it raises OutcomeUnknown, for both.
        """
        waits = wait_ms > 0 and not self._draining
        if consumer in self._queues:
            self._queues[consumer].look_along()
        batch = await self.deliveries.fetch(consumer, batch_size, min_batch if waits else 1, ack, nack, worker)
        if batch.deliveries or not waits:
            return batch
        try:
            answer = await self._wait(consumer, batch_size, min_batch, wait_ms / 1000, batch, gone, worker, waited)
        except CallerGone:
            return batch
        except BrokerError as exc:
            if isinstance(exc, OutcomeUnknown) or (not ack and not nack):
                raise
            return batch
        return msgspec.structs.replace(answer, settled=batch.settled) if answer is not None else batch

    async def _wait(
        self, consumer: str, batch_size: int, min_batch: int, seconds: float, batch: Batch, gone: Gone | None, worker: str,
        waited: Waited | None,
    ) -> Batch | None:  # fmt: skip
        """Wait after an empty batch. None: the time is over, and the first answer still holds."""
        if batch.paused:
            held = min(seconds, PAUSED_S)
            await self._wait_in_queue(consumer, Waiter(), held, batch, gone, waited)
            seconds -= held
            if self._draining:
                return None
            batch = await self.deliveries.fetch(consumer, batch_size, min_batch if seconds > 0 else 1, worker=worker)
            if batch.deliveries or batch.paused or seconds <= 0:
                return batch
        answer = await self._wait_in_queue(consumer, Waiter(batch_size, min_batch, worker), seconds, batch, gone, waited)
        return answer if answer is not None or self._draining else await self.deliveries.fetch(consumer, batch_size, worker=worker)

    async def _wait_in_queue(
        self, consumer: str, waiter: Waiter, seconds: float, batch: Batch, gone: Gone | None, waited: Waited | None
    ) -> Batch | None:
        """Wait in the consumer's queue. None: the time is over; no message was taken."""
        if self._draining:
            return None
        queue = self._queues.setdefault(consumer, Queue(self, consumer))
        if len(queue) >= batch.max_waiting:
            raise TooManyWaiting(f"{batch.max_waiting} calls of the consumer {consumer!r} wait already; try again later.")
        queue.add(waiter, batch)
        began = time.monotonic()
        timer = asyncio.get_running_loop().call_later(seconds, waiter.end)
        leaving = asyncio.create_task(gone()) if gone is not None else None
        if leaving is not None:
            leaving.add_done_callback(waiter.leave)
        try:
            answer = await waiter.answer
            if leaving is not None and leaving.done():
                raise CallerGone
            return answer
        except (asyncio.CancelledError, CallerGone):
            if waiter.answer.done() and not waiter.answer.cancelled() and not waiter.answer.exception():
                await asyncio.shield(self.give_back(consumer, waiter.answer.result()))
            raise
        finally:
            if waited is not None:
                waited(time.monotonic() - began)
            timer.cancel()
            if leaving is not None:
                leaving.cancel()
            queue.remove(waiter)
            if not queue and self._queues.get(consumer) is queue:
                del self._queues[consumer]

    async def give_back(self, consumer: str, batch: Batch | None) -> None:
        """Release a batch that nobody takes. If that fails, its deliveries expire after the ack wait."""
        try:
            if batch is not None:
                await self.deliveries.release(consumer, batch)
        except BrokerError as exc:
            logger.warning("what a caller that went away was given could not be given back: %s", exc)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drain(self) -> None:
        """End all waiting calls with an empty batch. Later calls do not wait (C45)."""
        self._draining = True
        for queue in self._queues.values():
            for waiter in (*queue.waiters, *queue.held):
                waiter.end()

    async def close(self) -> None:
        """Drain, and end the blocking reads."""
        self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.reads.close()
