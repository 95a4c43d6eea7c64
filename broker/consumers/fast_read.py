"""Fast read: delivers new messages by an XREADGROUP in one transaction with a script (docs/decisions/0014).

The script `fast_read` checks that delivering the next new messages is all there is to do, and counts them as delivered.
Their bodies do not pass through Lua. If there is more to do, the script changes nothing, and `next` does all of it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from broker import keys
from broker.commands.engine import Engine
from broker.commands.replies import DeliveryRows, Following, NextHead, parse_reply
from broker.commands.running import run_then
from broker.errors import StoreFull
from broker.store.client import NoTransactions
from broker.store.connection import Argument

# After a reply without messages, skip the script for this many rounds. 1: there was more to do. 2: the script never
# serves this consumer. 3: the next call of `next` removes the obstacle (twice in a row: as 1).
_ROUNDS = {1: 8, 2: 10_000, 3: 0}
# If a plain client has read messages that the script counted, the counts are correct again after this time.
_SYNC_MS = 1000


def worker_argument(worker: str) -> tuple[str, ...]:
    """A worker's name as the last arguments of a script."""
    return (worker,) if worker else ()


def reader_of(worker: str) -> str:
    """The name under which a worker reads in the consumer group (as in lua/prelude.lua)."""
    return f"http:{worker}" if worker else "http"


class FastRead:
    """Fast reads of a store's consumers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rounds: dict[str, int] = {}

    async def __call__(
        self, consumer: str, batch: int, groups: Sequence[Argument], worker: str
    ) -> tuple[str, NextHead, DeliveryRows] | None:
        """Settle acks and deliver up to `batch` new messages. Returns the stream, and the reply that `next` would give.

        None: nothing happened.
        """
        rounds = self._rounds.pop(consumer, None)
        if rounds:
            self._skip(consumer, rounds - 1)
            return None
        try:
            stream, reply = await self._engine.on_consumer(
                "fast_read", consumer, batch, *groups, *worker_argument(worker), by=partial(self._run, reader_of(worker))
            )
        except (StoreFull, NoTransactions):  # Redis 7 refuses transactions at its memory limit, but runs scripts
            stream, reply = "", ([1], [])
        script, found = reply
        if script[0]:
            self._rounds[consumer] = _ROUNDS[1 if script[0] == 3 and rounds == 0 else script[0]]
            return None
        head, ((count,),) = parse_reply(script, NextHead, Following)
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
