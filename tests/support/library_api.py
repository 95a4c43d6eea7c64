"""The interface of api.py over the Python library, whose errors are raised as what HTTP would answer."""

from typing import Any, TypeVar

import msgspec

from broker import Batch, Broker, ConsumerChanges, ConsumerSpec, Delivery, Nack, StreamChanges, StreamSpec
from broker.errors import BrokerError, ValidationFailed
from broker.messages.validation import failure
from broker.streams.publishing import count_by_status
from broker.streams.search import StoredMessage
from http_api.problems import STATUS
from tests.support.api import Json, Refused

T = TypeVar("T")


class LibraryApi:
    """The API by the Python library."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def create_stream(self, **fields: Any) -> Json:
        with _refusals():
            return _json((await self._broker.streams.create(_struct(StreamSpec, fields)))[0])

    async def get_stream(self, name: str) -> Json:
        with _refusals():
            return _json(await self._broker.streams.get(name))

    async def update_stream(self, name: str, **fields: Any) -> Json:
        with _refusals():
            return _json(await self._broker.streams.update(name, _struct(StreamChanges, fields)))

    async def delete_stream(self, name: str, force: bool = False) -> None:
        with _refusals():
            await self._broker.streams.delete(name, force=force)

    async def list_streams(self, after: str | None = None, limit: int = 100) -> Json:
        with _refusals():
            found, cursor = await self._broker.streams.page(after, limit)
            return {"data": [_json(stream) for stream in found], "next": cursor}

    async def publish(self, stream: str, messages: list[Json]) -> Json:
        with _refusals():
            results = await self._broker.publish(stream, messages)
            return {"data": [_json(result) for result in results], "info": count_by_status(results)}

    async def messages(self, stream: str, **query: Any) -> Json:
        with _refusals():
            page = await self._broker.streams.messages(stream, **query)
            return {"data": [_stored(m) for m in page.messages], "next": page.next}

    async def record(self, stream: str, record_id: str) -> Json:
        with _refusals():
            return msgspec.json.decode((await self._broker.streams.record(stream, record_id)).json)  # type: ignore[no-any-return]

    async def create_consumer(self, **fields: Any) -> Json:
        with _refusals():
            created = _json((await self._broker.consumers.create(_struct(ConsumerSpec, fields)))[0])
            del created["info"]
            return created

    async def get_consumer(self, name: str) -> Json:
        with _refusals():
            return _json(await self._broker.consumers.get(name))

    async def update_consumer(self, name: str, **fields: Any) -> Json:
        with _refusals():
            changed = _json(await self._broker.consumers.update(name, _struct(ConsumerChanges, fields)))
            del changed["info"]
            return changed

    async def delete_consumer(self, name: str) -> None:
        with _refusals():
            await self._broker.consumers.delete(name)

    async def list_consumers(self, **query: Any) -> Json:
        with _refusals():
            found, cursor = await self._broker.consumers.page(**query)
            rows = [_json(consumer) for consumer in found]
            for row in rows:
                del row["info"]
            return {"data": rows, "next": cursor}

    async def reset_consumer(self, name: str, deliver_policy: str) -> Json:
        with _refusals():
            return _json(await self._broker.consumers.reset(name, deliver_policy))

    async def pause_consumer(self, name: str) -> Json:
        with _refusals():
            return _json(await self._broker.consumers.pause(name))

    async def resume_consumer(self, name: str) -> Json:
        with _refusals():
            return _json(await self._broker.consumers.resume(name))

    async def next(self, consumer: str, batch_size: int = 1, min_batch: int = 1, wait_ms: int = 0) -> Json:
        with _refusals():
            return _batch(await self._broker.next(consumer, batch_size, min_batch=min_batch, wait_ms=wait_ms))

    async def settle_and_fetch(self, consumer: str, batch_size: int, ack: list[str], nack: list[Json]) -> Json:
        with _refusals():
            batch = await self._broker.next(consumer, batch_size, ack=ack, nack=[_struct(Nack, row) for row in nack])
            return _batch(batch) | {"settled": _json(batch.settled)}

    async def ack(self, consumer: str, tokens: list[str]) -> Json:
        with _refusals():
            settled = await self._broker.ack(consumer, tokens)
            return {"acked": settled.count, "stale": settled.stale}

    async def nack(self, consumer: str, tokens: list[str], delay_ms: int | None = None) -> Json:
        with _refusals():
            settled = await self._broker.nack(consumer, [Nack(token, delay_ms) for token in tokens])
            return {"nacked": settled.count, "stale": settled.stale}

    async def nack_each(self, consumer: str, nacks: list[Json]) -> Json:
        with _refusals():
            settled = await self._broker.nack(consumer, [_struct(Nack, row) for row in nacks])
            return {"nacked": settled.count, "stale": settled.stale}

    async def extend(self, consumer: str, tokens: list[str]) -> Json:
        with _refusals():
            extended = await self._broker.extend(consumer, tokens)
            return {"extended": extended.count, "stale": extended.stale}

    async def pending(self, consumer: str, **query: Any) -> Json:
        with _refusals():
            rows, cursor = await self._broker.deliveries.pending(consumer, **query)
            return {"data": [_json(row) for row in rows], "next": cursor}

    async def peek(self, consumer: str, limit: int = 10) -> list[Json]:
        with _refusals():
            found = await self._broker.deliveries.peek(consumer, limit)
            return [_labelled(_json(m, "json", "label"), m.label, m.json) for m in found]

    async def dead_letters(self, consumer: str, **query: Any) -> Json:
        with _refusals():
            found, cursor = await self._broker.dead_letters.page(consumer, **query)
            return {"data": [_labelled(_json(m, "json", "label"), m.label, m.json) for m in found], "next": cursor}

    async def redrive(self, consumer: str, dry_run: bool = False) -> Json:
        with _refusals():
            return _json(await self._broker.dead_letters.redrive_matching(consumer, dry_run=dry_run))


class _refusals:  # noqa: N801 - reads as a function
    """Turns the library's errors into what HTTP would answer."""

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, BrokerError):
            errors = error.errors if isinstance(error, ValidationFailed) else None
            raise Refused(STATUS[type(error)], error.code, errors) from error


def _struct(kind: type[T], fields: Json) -> T:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as exc:
        raise failure(exc, kind) from exc


def _json(value: msgspec.Struct, *without: str) -> Json:
    fields: Json = msgspec.json.decode(msgspec.json.encode(value))
    return {name: shown for name, shown in fields.items() if name not in without}


def _labelled(row: Json, label: str, text: bytes) -> Json:
    return row | {label: msgspec.json.decode(text)}


def _stored(message: StoredMessage) -> Json:
    return _labelled({"id": message.id}, message.label, message.json)


def _batch(batch: Batch) -> Json:
    info = {"num_pending": batch.num_pending, "num_ack_pending": batch.num_ack_pending}
    return {"data": [_delivery(d) for d in batch.deliveries], "info": info}


def _delivery(delivery: Delivery) -> Json:
    return _labelled(_json(delivery, "json", "label"), delivery.label, delivery.json)
