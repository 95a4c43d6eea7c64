"""The Broker class: everything that the HTTP API does, as a Python library."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Self

from broker import keys
from broker.access.audit import Audit
from broker.commands.engine import Engine
from broker.commands.registry import rows
from broker.commands.scripts import MAX_ANSWER_BYTES, Scripts
from broker.consumers.batches import Batch, Nack, Settled
from broker.consumers.dead_letters import DeadLetters
from broker.consumers.delivery import Deliveries
from broker.consumers.lifecycle import Consumers
from broker.consumers.waiting import Waiting
from broker.errors import BrokerError, StoreFull
from broker.overview import Overview, look
from broker.store.client import Store
from broker.streams.inspection import Inspection
from broker.streams.lifecycle import Streams
from broker.streams.publishing import MAX_MESSAGE_BYTES, Published, Publisher


class Readiness(NamedTuple):
    """Whether workers can settle and messages can be published, and the reason if not."""

    serving: bool
    publishing: bool
    reason: str | None = None


READY = Readiness(True, True)


class Broker:
    """A broker over one Redis. Use it as an async context manager, or call `start` and `close`.

    `publish`, `next`, `ack` and `nack` do the main job. `streams` and `consumers` create, list, change and delete.
    `deliveries` shows pending and next messages, `dead_letters` dead ones, `inspection` the state of one message.
    Errors are those of `broker.errors`.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        scripts: Scripts | None = None,
    ) -> None:
        self.store = store
        engine = self._engine = Engine(store, scripts or Scripts(max_answer_bytes=max_answer_bytes))
        self.streams = Streams(engine)
        self.consumers = Consumers(engine)
        self.deliveries = Deliveries(engine)
        self.dead_letters = DeadLetters(engine)
        self.inspection = Inspection(engine)
        self.audit = Audit(store)
        self.waiting = Waiting(engine, self.deliveries)
        self._publisher = Publisher(engine, self.streams, max_message_bytes)

    @classmethod
    def from_url(cls, url: str, *, max_message_bytes: int = MAX_MESSAGE_BYTES, max_answer_bytes: int = MAX_ANSWER_BYTES) -> "Broker":
        """A broker over the Redis at a URL, as `broker serve --redis` takes it. ValueError: another URL."""
        return cls(Store.from_url(url), max_message_bytes=max_message_bytes, max_answer_bytes=max_answer_bytes)

    async def start(self) -> None:
        """Create the streams `records` and `events` on the first start over this Redis (C8)."""
        await self.streams.make_first()

    async def close(self) -> None:
        """End waiting calls and close the connections."""
        await self.waiting.close()
        await self._publisher.close()
        await self.store.close()

    async def names(self) -> tuple[frozenset[str], frozenset[str]]:
        """The names of all streams and of all consumers."""
        streams, consumers = [await rows(self._engine, key) for key in (keys.STREAMS, keys.CONSUMERS)]
        return frozenset(streams), frozenset(consumers)

    async def overview(self, most: int = 1000, timeout: float = 5.0) -> Overview:
        """Counts of all streams and of the first `most` consumers by name, as read within `timeout` seconds."""
        return await look(self._engine, most, timeout)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def publish(self, stream: str, messages: Sequence[dict[str, Any]]) -> list[Published]:
        """Publish 1-1000 messages, all or none (C13). Returns one result per message, in order."""
        return await self._publisher.publish(stream, messages)

    async def publish_json(self, stream: str, body: bytes, *, trace: dict[str, str] | None = None) -> list[Published]:
        """Publish the JSON `{"messages": [...]}` without parsing `data`.

        `trace`: headers `traceparent` and `tracestate` for messages that have neither.
        """
        return await self._publisher.publish_json(stream, body, trace)

    def publish_lines(
        self, stream: str, lines: AsyncIterator[bytes], *, trace: dict[str, str] | None = None
    ) -> AsyncIterator[list[Published]]:
        """Publish NDJSON lines as they arrive and yield the results chunk by chunk. `trace`: as in `publish_json`.

        PublishFailed: a line is invalid.
        """
        return self._publisher.publish_lines(stream, lines, trace)

    async def next(
        self,
        consumer: str,
        batch_size: int = 1,
        *,
        min_batch: int = 1,
        wait_ms: int = 0,
        ack: Sequence[str] = (),
        nack: Sequence[Nack] = (),
        gone: Callable[[], Coroutine[Any, Any, None]] | None = None,
        worker: str = "",
        waited: Callable[[float], None] | None = None,
    ) -> Batch:
        """Deliver up to `batch_size` messages, waiting up to `wait_ms` until `min_batch` are deliverable (C21).

        `ack` and `nack` are settled first, in the same atomic step as the fetch (C35). `gone` returns when the caller
        disconnects; the wait then ends without taking a message. `worker` is the caller's name (C59). `waited` receives
        the seconds that the call waited, even if it fails.
        """
        return await self.waiting.fetch_or_wait(consumer, batch_size, min_batch, wait_ms, ack, nack, gone, worker, waited)

    async def ack(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Settle deliveries as done (C24)."""
        return await self.deliveries.ack(consumer, tokens)

    async def nack(self, consumer: str, nacks: Sequence[Nack]) -> Settled:
        """Settle deliveries as not done (C26)."""
        return await self.deliveries.nack(consumer, nacks)

    async def extend(self, consumer: str, tokens: Sequence[str]) -> Settled:
        """Restart the ack wait of deliveries (C33)."""
        return await self.deliveries.extend(consumer, tokens)

    async def readiness(self) -> Readiness:
        """Whether every primary lets workers settle and stores messages."""
        found = READY
        try:
            for key in await self.store.primaries():
                try:
                    await self.store.call("SET", key, 1, "PX", 1000)
                except StoreFull:
                    await self.store.call("DEL", key)  # allowed at the memory limit, as settling is
                    found = Readiness(True, False, "Redis is at its memory limit: messages are refused.")
            if found.publishing:
                await self.start()  # Redis may have restarted without its data
        except BrokerError as exc:
            return Readiness(False, False, str(exc))
        return found
