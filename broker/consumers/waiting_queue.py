"""Queue of one consumer's waiting calls: decides which call is tried, and when."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from broker import keys
from broker.consumers.batches import Batch
from broker.consumers.delivery import Deliveries
from broker.errors import BrokerError, OutcomeUnknown, StoreUnavailable
from broker.store.client import Store
from broker.store.watch import RETRY_S, Growth, Reads, last_id, order

# A plain client's XACK frees room under max_ack_pending and wakes nobody, so look again after this time at the latest.
LOOK_AGAIN_S = 5.0
# After growth that no waiting call could use, let more messages collect for this time.
PAUSE_S = 0.005


class CallerGone(Exception):
    """The caller disconnected while it waited. It took no message."""


class Host(Protocol):
    """The parts that all queues of a server share."""

    store: Store
    deliveries: Deliveries
    reads: Reads

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the coroutine in the background."""

    async def give_back(self, consumer: str, batch: Batch | None) -> None:
        """Release a batch that nobody takes."""


class Waiter:
    """A waiting call and its future answer. None: its time is over."""

    __slots__ = ("answer", "asked", "batch_size", "min_batch", "over", "worker")

    def __init__(self, batch_size: int = 1, min_batch: int = 1, worker: str = "") -> None:
        self.batch_size, self.min_batch, self.worker = batch_size, min_batch, worker
        self.answer: asyncio.Future[Batch | None] = asyncio.get_running_loop().create_future()
        self.asked = self.over = False

    def end(self) -> None:
        """End the wait. A try that is under way may still return messages."""
        self.over = True
        if not self.asked and not self.answer.done():
            self.answer.set_result(None)

    def fail(self, exc: BaseException) -> None:
        """End the call with this error, unless it has its answer."""
        if not self.answer.done():
            self.answer.set_exception(exc)

    def leave(self, leaving: asyncio.Task[None]) -> None:
        """End the call because its caller has disconnected: the task that watches for that has ended."""
        if not leaving.cancelled():
            self.fail(CallerGone())


class Queue:
    """The waiting calls of one consumer: those tried in order, and those that a pause holds."""

    def __init__(self, waiting: Host, consumer: str) -> None:
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.held: set[Waiter] = set()
        self._waiting, self._consumer = waiting, consumer
        self._stream = self._watched = ""
        self._seen, self._wake_at = "0-0", ""
        self._call_off: Callable[[], None] | None = None
        self._asked = self._served = 0
        self._unmet = math.inf
        self._again = self._failed = self._more = False
        self._useful = True
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.waiters) + len(self.held)

    def add(self, waiter: Waiter, batch: Batch) -> None:
        """Add a call after an empty batch, and look for messages that became deliverable since."""
        if batch.paused:
            self.held.add(waiter)
            return
        self.waiters[waiter] = None
        if len(self.waiters) > 1:
            self.look()
        else:
            self._seen, self._stream = batch.seen, batch.deliveries.stream
            self._waiting.spawn(self._begin())

    def remove(self, waiter: Waiter) -> None:
        """Remove a call."""
        self.held.discard(waiter)
        self.waiters.pop(waiter, None)
        if not self.waiters:
            self._leave()

    async def _begin(self) -> None:
        """Start watching at the end of the wake stream, then look."""
        self._leave()
        self._watched, self._wake_at = self._stream, ""
        while not self._wake_at and self.waiters:
            try:
                self._wake_at = await last_id(self._waiting.store, keys.wake(self._watched))
            except BrokerError:
                await asyncio.sleep(RETRY_S)
        self.look()

    def _leave(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
        if self._call_off is not None:
            self._call_off()
            self._call_off = None

    def _expect(self) -> None:
        """Watch for growth after the last look."""
        if self.waiters and self._wake_at and not self._asked and self._call_off is None:
            at = {keys.log(self._watched): self._seen, keys.wake(self._watched): self._wake_at}
            self._call_off = self._waiting.reads.expect(at, self._grown)

    def _grown(self, grown: Growth) -> None:
        if grown is None:
            self._waiting.spawn(self._begin())
            return
        named, before = set(), order(self._wake_at)
        for id_, fields in grown.get(keys.wake(self._watched), ()):
            if order(id_.decode()) > before:  # other readers may have asked for earlier entries
                self._wake_at = id_.decode()
                named.add(fields[1])
        self._useful = keys.log(self._watched) not in grown
        if not self._useful or not named.isdisjoint((b"", self._consumer.encode())):
            self._leave()
            self.look()

    def look(self) -> None:
        """Try the calls in order until one gets nothing, because something may have become deliverable."""
        self._again = self._asked > 0
        if not self._again:
            self._unmet, self._served = math.inf, 0
            self._ask(1)

    def look_along(self) -> None:
        """Another call is about to fetch: try the longest waiting call before it, in the same script.

        A call with a min_batch over 1 needs its own script, so it is skipped.
        """
        if not self._asked:
            self._unmet, self._served = 2, 0
            self._ask(1)
            self._unmet = math.inf

    def _ask(self, messages: int) -> None:
        """Try as many calls as may share this many messages, or one call with a min_batch over 1 alone."""
        for waiter in self.waiters:
            if messages <= 0 or (self._asked and waiter.min_batch > 1):
                break
            if waiter.min_batch < self._unmet and not waiter.answer.done():
                waiter.asked = True
                self._asked += 1
                messages -= waiter.batch_size if waiter.min_batch == 1 else messages
                asked = self._waiting.deliveries.ask(self._consumer, waiter.batch_size, waiter.min_batch, waiter.worker)
                asked.add_done_callback(partial(self._answered, waiter))
        if not self._asked and self._useful:
            self._expect()
        elif not self._asked:
            self._useful = True
            asyncio.get_running_loop().call_later(PAUSE_S, self._expect)

    def _answered(self, waiter: Waiter, asked: asyncio.Future[Batch]) -> None:
        self._asked -= 1
        exc = asyncio.CancelledError() if asked.cancelled() else asked.exception()
        if exc is None:
            self._take(waiter, asked.result())
        elif isinstance(exc, StoreUnavailable):
            self._failed = True  # no caller needs to know: Redis may be back before their time is over
        elif isinstance(exc, OutcomeUnknown):
            # A message may have had its last delivery to nobody: this must not look like an empty answer.
            self._failed = True
            self.waiters.pop(waiter, None)
            waiter.fail(exc)
        else:
            for each in self.waiters:
                each.fail(exc)
            self.waiters.clear()
        if waiter in self.waiters:  # else its time is over, but it still gets this answer
            waiter.asked = False
            if waiter.over:
                waiter.end()
        if self._asked:
            return
        if not self.waiters:
            self._leave()
        elif self._failed:
            self._failed = False
            self._look_again_in(RETRY_S)
        elif self._stream != self._watched and self._wake_at:  # it was deleted and created again on another stream
            self._waiting.spawn(self._begin())
        elif self._again:
            self.look()
        else:
            self._ask(max(1, self._served * (4 if self._more else 1)) if self._unmet > 1 else 0)

    def _take(self, waiter: Waiter, batch: Batch) -> None:
        self._seen, self._stream, self._more = batch.seen, batch.deliveries.stream, batch.num_pending > 0
        if batch.deliveries:
            self._served += len(batch.deliveries)
            self._useful = True
            self.waiters.pop(waiter, None)
            # Callers take long to write their answers, so send the next script first.
            asyncio.get_running_loop().call_soon(self._give, waiter, batch)
            return
        self._unmet = min(self._unmet, waiter.min_batch)
        for each in self.waiters if batch.paused else ():
            each.end()
        self._look_again_in(LOOK_AGAIN_S if batch.due_in_ms is None else min(LOOK_AGAIN_S, batch.due_in_ms / 1000))

    def _give(self, waiter: Waiter, batch: Batch) -> None:
        if waiter.answer.done():
            self._waiting.spawn(self._waiting.give_back(self._consumer, batch))
        else:
            waiter.answer.set_result(batch)

    def _look_again_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.look)
