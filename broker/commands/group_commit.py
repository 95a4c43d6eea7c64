"""Group commit: calls that arrive while a script for the same name runs share the next script.

A call that finds no script running starts a round at once, so a lone caller never waits. Other calls queue by kind,
first come, first served. The next round takes as many calls of each kind as fit, and runs one script for all of them.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger("broker")

# While Redis runs one round, the replies of the previous round are distributed.
ROUNDS = 2
# The most weight of each kind in a round, its first call aside. This bounds the time of a script.
MOST = 256


class Weighed(Protocol):
    """A call that concerns a number of messages."""

    @property
    def weight(self) -> int:
        """The number of messages, at least 1."""


N = TypeVar("N", bound=Hashable)
C = TypeVar("C", bound=Weighed)
A = TypeVar("A")
R = TypeVar("R")


class _Lane(Generic[C, R]):
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queues: defaultdict[Hashable, deque[tuple[C, asyncio.Future[R]]]] = defaultdict(deque)
        self.tasks: set[asyncio.Task[None]] = set()
        self.under_way = 0
        self.starting = False


class GroupCommit(Generic[N, C, A, R]):
    """Runs calls in rounds, by name.

    `send` runs a script for all calls of a round; if it raises, all calls fail. `share` splits the answer into one
    result per call, in order. `unclaimed` takes the result of a caller that has disconnected. `fits` says whether a
    call may join a round. `kind` names the queue of a call.
    """

    def __init__(
        self,
        send: Callable[[N, Sequence[C]], Awaitable[A]],
        share: Callable[[Sequence[C], A], Sequence[R]],
        unclaimed: Callable[[N, R], Awaitable[None]] | None = None,
        fits: Callable[[Sequence[C], C], bool] | None = None,
        kind: Callable[[C], Hashable] = lambda _: None,
    ) -> None:
        self._send = send
        self._share = share
        self._unclaimed = unclaimed
        self._fits = fits
        self._kind = kind
        self._lanes: dict[N, _Lane[C, R]] = {}

    async def __call__(self, name: N, call: C) -> R:
        """Run the call in the next round of `name`."""
        return await self.submit(name, call)

    def submit(self, name: N, call: C) -> asyncio.Future[R]:
        """Queue the call and return its result as a future. Calls of one turn of the event loop keep their order."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        future: asyncio.Future[R] = lane.loop.create_future()
        lane.queues[self._kind(call)].append((call, future))
        self._start(name, lane)
        return future

    def _start(self, name: N, lane: _Lane[C, R]) -> None:
        if any(lane.queues.values()) and not lane.starting and lane.under_way < ROUNDS:
            lane.starting = True  # calls that arrive before it starts join it
            lane.under_way += 1
            task = asyncio.create_task(self._round(name, lane))
            lane.tasks.add(task)
            task.add_done_callback(lane.tasks.discard)

    def _take(self, lane: _Lane[C, R]) -> list[tuple[C, asyncio.Future[R]]]:
        """The calls of the next round, without those whose caller has disconnected."""
        taken: list[tuple[C, asyncio.Future[R]]] = []
        for queue in lane.queues.values():
            weight = 0
            while queue:
                call, future = queue[0]
                if not future.done():
                    if weight and weight + call.weight > MOST:
                        break
                    if self._fits is not None and taken and not self._fits([c for c, _ in taken], call):
                        break
                    weight += call.weight
                    taken.append((call, future))
                queue.popleft()
        return taken

    async def _round(self, name: N, lane: _Lane[C, R]) -> None:
        lane.starting = False
        taken = self._take(lane)
        self._start(name, lane)
        calls, futures = [call for call, _ in taken], [future for _, future in taken]
        try:
            try:
                answer = await self._send(name, calls) if calls else None
            finally:
                lane.under_way -= 1
                self._start(name, lane)
                if not lane.under_way and self._lanes.get(name) is lane:
                    del self._lanes[name]
            if lane.starting:
                await asyncio.sleep(0)  # send the next round before distributing this one
            results = self._share(calls, answer) if answer is not None else []
        except Exception as exc:
            for future in futures:
                if not future.done():
                    future.set_exception(exc)
            return
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        unclaimed = [result for future, result in zip(futures, results, strict=True) if future.done()]
        for future, result in zip(futures, results, strict=True):
            if not future.done():
                future.set_result(result)
        for result in unclaimed if self._unclaimed is not None else ():
            await self._give_back(name, result)

    async def _give_back(self, name: N, result: R) -> None:
        try:
            await self._unclaimed(name, result)  # type: ignore[misc]
        except Exception:
            logger.warning("what a caller that went away was given could not be given back", exc_info=True)
