"""The fast read: new messages by an XREADGROUP that follows a script in its transaction (docs/decisions/0014).

The script `fast_read` checks that there is nothing to do but to deliver the next new messages, and counts them as out; their
bodies do not pass through Lua. Where there is more to do, nothing happens, and `next` does it all.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from broker import keys
from broker.commands.engine import Engine
from broker.commands.replies import DeliveryRows, Following, NextHead, taken_apart
from broker.commands.running import run_then
from broker.errors import StoreFull
from broker.store.client import NoTransactions
from broker.store.connection import Argument

# The script is tried where it was of use the last time; else again after so many more rounds, by its answer: 1 = it was of no
# use now; 2 = it never is for this consumer, until another one of that name is made; 3 = `next` sees to what was in the way
# (where that is so twice in a row, as 1).
_ROUNDS = {1: 8, 2: 10_000, 3: 0}
# A plain client has read what the script counted on: the counts are right again this soon.
_SYNC_MS = 1000


def worker_argument(worker: str) -> tuple[str, ...]:
    """A worker's name as the scripts take it, last."""
    return (worker,) if worker else ()


def reader_of(worker: str) -> str:
    """Under which name of the group a worker reads (lua/prelude.lua has the same)."""
    return f"http:{worker}" if worker else "http"


class FastRead:
    """Fast reads of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rounds: dict[str, int] = {}

    async def __call__(
        self, consumer: str, batch: int, groups: Sequence[Argument], worker: str
    ) -> tuple[str, NextHead, DeliveryRows] | None:
        """Settle acks and deliver up to `batch` new messages: the stream, and what `next` would reply. None: nothing happened."""
        rounds = self._rounds.pop(consumer, None)
        if rounds:
            self._skip(consumer, rounds - 1)
            return None
        try:
            stream, reply = await self._engine.on_consumer(
                "fast_read", consumer, batch, *groups, *worker_argument(worker), by=partial(self._run, reader_of(worker))
            )
        except (StoreFull, NoTransactions):  # Redis 7 takes no transaction at its memory limit, but goes on to run scripts
            stream, reply = "", ([1], [])
        script, found = reply
        if script[0]:
            self._rounds[consumer] = _ROUNDS[1 if script[0] == 3 and rounds == 0 else script[0]]
            return None
        head, ((count,),) = taken_apart(script, NextHead, Following)
        entries = found[0][1] if found else []
        if len(entries) < count:
            head = head._replace(num_pending=head.num_pending - count + len(entries), due_in=_SYNC_MS)
            self._skip(consumer, _ROUNDS[1])
        once = [1] * len(entries)
        rows = DeliveryRows([i for i, _ in entries], once, once, [f[1] for _, f in entries], [f[3] for _, f in entries])
        return stream, head, rows

    def _skip(self, consumer: str, rounds: int) -> None:
        if rounds:
            self._rounds[consumer] = rounds

    async def _run(self, reader: str, command: str, stream: str, consumer: str, batch: int, *groups: Argument) -> tuple[list[Any], Any]:
        log, gate = keys.log(stream), keys.gate(stream, consumer)
        reply, (entries, _) = await run_then(
            self._engine.store, self._engine.scripts[command], keys.stream(stream), (consumer, batch, *groups),
            (("XREADGROUP", "GROUP", consumer, reader, "COUNT", batch, "STREAMS", log, gate, ">", ">"), ("DEL", gate)),
        )  # fmt: skip
        return reply, entries
