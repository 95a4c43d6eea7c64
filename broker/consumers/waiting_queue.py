"""The waiting calls of one consumer: which of them is asked for, and when."""

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

# A plain client's XACK makes room under max_ack_pending and tells nobody: look again after this long at the latest.
LOOK_AGAIN_S = 5.0
# After growth that no waiting call could use, others get this long to come together.
PAUSE_S = 0.005


class CallerGone(Exception):
    """The caller went away while it waited; it took no message with it."""


class Host(Protocol):
    """What the queues of a server share."""

    store: Store
    deliveries: Deliveries
    reads: Reads

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have it done meanwhile."""

    async def give_back(self, consumer: str, batch: Batch | None) -> None:
        """Release what nobody takes."""


class Waiter:
    """One call that waits, and the answer that it will get; None: its time is over."""

    __slots__ = ("answer", "asked", "batch_size", "min_batch", "over", "worker")

    def __init__(self, batch_size: int = 1, min_batch: int = 1, worker: str = "") -> None:
        self.batch_size, self.min_batch, self.worker = batch_size, min_batch, worker
        self.answer: asyncio.Future[Batch | None] = asyncio.get_running_loop().create_future()
        self.asked = self.over = False

    def end(self) -> None:
        """Its time is over; what it is being asked for it still gets."""
        self.over = True
        if not self.asked and not self.answer.done():
            self.answer.set_result(None)

    def fail(self, exc: BaseException) -> None:
        """The call ends with this error, unless it has its answer."""
        if not self.answer.done():
            self.answer.set_exception(exc)

    def leave(self, leaving: asyncio.Task[None]) -> None:
        """Its caller has gone away: a task that watches for that has ended."""
        if not leaving.cancelled():
            self.fail(CallerGone())


class Queue:
    """The waiting calls of one consumer: those that are asked for in their turn, and those that a pause holds."""

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
        """Stand in the queue after an empty batch; what has become deliverable since then is looked for."""
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
        """The call waits no more."""
        self.held.discard(waiter)
        self.waiters.pop(waiter, None)
        if not self.waiters:
            self._leave()

    async def _begin(self) -> None:
        """Look, and wait from where the wake stream ended before that."""
        self._leave()
        self._watched, self._wake_at = self._stream, ""
        while not self._wake_at and self.waiters:
            try:
                self._wake_at = await last_id(self._waiting.store, keys.wake(self._watched))
            except BrokerError:
                await asyncio.sleep(RETRY_S)
        self.look()

    def _leave(self) -> None:
        """Be woken no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._call_off is not None:
            self._call_off()
            self._call_off = None

    def _expect(self) -> None:
        """Be woken by what comes after the last look."""
        if self.waiters and self._wake_at and not self._asked and self._call_off is None:
            at = {keys.log(self._watched): self._seen, keys.wake(self._watched): self._wake_at}
            self._call_off = self._waiting.reads.expect(at, self._grown)

    def _grown(self, grown: Growth) -> None:
        if grown is None:
            self._waiting.spawn(self._begin())
            return
        named, before = set(), order(self._wake_at)
        for id_, fields in grown.get(keys.wake(self._watched), ()):
            if order(id_.decode()) > before:  # others may have wanted it from further back
                self._wake_at = id_.decode()
                named.add(fields[1])
        self._useful = keys.log(self._watched) not in grown
        if not self._useful or not named.isdisjoint((b"", self._consumer.encode())):
            self._leave()
            self.look()

    def look(self) -> None:
        """Something may have become deliverable: ask for calls, in their order, until one gets nothing."""
        self._again = self._asked > 0
        if not self._again:
            self._unmet, self._served = math.inf, 0
            self._ask(1)

    def look_along(self) -> None:
        """Somebody else is about to look: ask in the same script, before it, for the call that has waited longest.

        One that wants several messages at least has a script of its own, so it is passed over.
        """
        if not self._asked:
            self._unmet, self._served = 2, 0
            self._ask(1)
            self._unmet = math.inf

    def _ask(self, messages: int) -> None:
        """Ask for as many calls as may share so many messages, for one that wants several at least alone; or rest."""
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
            self._failed = True  # nobody need know: Redis may be back before their time is over
        elif isinstance(exc, OutcomeUnknown):
            # Something may have been delivered to nobody, for the last time: that must not look like an empty answer.
            self._failed = True
            self.waiters.pop(waiter, None)
            waiter.fail(exc)
        else:
            for each in self.waiters:
                each.fail(exc)
            self.waiters.clear()
        if waiter in self.waiters:  # else it is about to get what it was asked for, though its time is over
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
        elif self._stream != self._watched and self._wake_at:  # it was deleted, and made again on another stream
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
            # Callers take long to write their answers: first the next script is sent.
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
