"""One interface to the broker for the contract tests, over the Python library and over HTTP.

Every method takes and gives the JSON of the API, as Python values; a refusal raises `Refused`.
"""

from typing import Any, Protocol, TypeVar

import httpx
import msgspec

from broker import Batch, Broker, ConsumerChanges, ConsumerSpec, Delivery, Nack, StreamChanges, StreamSpec
from broker.errors import BrokerError, ValidationFailed
from broker.messages.validation import failure
from broker.streams.publishing import count_by_status
from broker.streams.search import StoredMessage
from http_api.problems import STATUS

Json = dict[str, Any]
T = TypeVar("T")


class Refused(Exception):
    """The broker refused: the status and code of the error table, and the fields that a 422 names."""

    def __init__(self, status: int, code: str, errors: dict[str, list[str]] | None = None) -> None:
        super().__init__(f"{status} {code} {errors or ''}")
        self.status = status
        self.code = code
        self.errors = errors or {}


class Api(Protocol):
    """What both transports do."""

    async def create_stream(self, **fields: Any) -> Json: ...
    async def get_stream(self, name: str) -> Json: ...
    async def update_stream(self, name: str, **fields: Any) -> Json: ...
    async def delete_stream(self, name: str, force: bool = False) -> None: ...
    async def list_streams(self, after: str | None = None, limit: int = 100) -> Json: ...
    async def publish(self, stream: str, messages: list[Json]) -> Json: ...
    async def messages(self, stream: str, **query: Any) -> Json: ...
    async def record(self, stream: str, record_id: str) -> Json: ...
    async def create_consumer(self, **fields: Any) -> Json: ...
    async def get_consumer(self, name: str) -> Json: ...
    async def update_consumer(self, name: str, **fields: Any) -> Json: ...
    async def delete_consumer(self, name: str) -> None: ...
    async def list_consumers(self, **query: Any) -> Json: ...
    async def reset_consumer(self, name: str, deliver_policy: str) -> Json: ...
    async def pause_consumer(self, name: str) -> Json: ...
    async def resume_consumer(self, name: str) -> Json: ...
    async def next(self, consumer: str, batch_size: int = 1, min_batch: int = 1, wait_ms: int = 0) -> Json: ...
    async def settle_and_fetch(self, consumer: str, batch_size: int, ack: list[str], nack: list[Json]) -> Json: ...
    async def ack(self, consumer: str, tokens: list[str]) -> Json: ...
    async def nack(self, consumer: str, tokens: list[str], delay_ms: int | None = None) -> Json: ...
    async def nack_each(self, consumer: str, nacks: list[Json]) -> Json: ...
    async def extend(self, consumer: str, tokens: list[str]) -> Json: ...
    async def pending(self, consumer: str, **query: Any) -> Json: ...
    async def peek(self, consumer: str, limit: int = 10) -> list[Json]: ...
    async def dead_letters(self, consumer: str, **query: Any) -> Json: ...
    async def redrive(self, consumer: str, dry_run: bool = False) -> Json: ...


class HttpApi:
    """The API over HTTP."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """The decoded answer; Refused for an error of the one shape."""
        if "params" in options:
            options["params"] = {k: v for k, v in options["params"].items() if v is not None}
        reply = await self.client.request(method, "/v1" + path, **options)
        body = reply.json()
        if reply.status_code >= 400:
            allowed = {"code", "summary", "validation_errors"} if reply.status_code == 422 else {"code", "summary"}
            assert set(body) == allowed, body
            raise Refused(reply.status_code, body["code"], body.get("validation_errors"))
        return body

    async def create_stream(self, **fields: Any) -> Json:
        return await self.call("POST", "/streams", json=fields)  # type: ignore[no-any-return]

    async def get_stream(self, name: str) -> Json:
        return await self.call("GET", f"/streams/{name}")  # type: ignore[no-any-return]

    async def update_stream(self, name: str, **fields: Any) -> Json:
        return await self.call("PATCH", f"/streams/{name}", json=fields)  # type: ignore[no-any-return]

    async def delete_stream(self, name: str, force: bool = False) -> None:
        answer = await self.call("DELETE", f"/streams/{name}", params={"force": "true" if force else None})
        assert answer == {"id": name, "deleted": True}

    async def list_streams(self, after: str | None = None, limit: int = 100) -> Json:
        return await self.call("GET", "/streams", params={"after": after, "limit": limit})  # type: ignore[no-any-return]

    async def publish(self, stream: str, messages: list[Json]) -> Json:
        return await self.call("POST", f"/streams/{stream}/messages", json={"messages": messages})  # type: ignore[no-any-return]

    async def messages(self, stream: str, **query: Any) -> Json:
        page: Json = await self.call("GET", f"/streams/{stream}/messages", params=query)
        assert page.pop("scanned") >= len(page["data"])
        return page

    async def record(self, stream: str, record_id: str) -> Json:
        return await self.call("GET", f"/streams/{stream}/records/{record_id}")  # type: ignore[no-any-return]

    async def create_consumer(self, **fields: Any) -> Json:
        created: Json = await self.call("POST", "/http-consumers", json=fields)
        hurts = created["max_deliver"] == -1 and not created["backoff_ms"]
        assert bool(created.pop("warnings", None)) == hurts
        return created

    async def get_consumer(self, name: str) -> Json:
        return await self.call("GET", f"/http-consumers/{name}")  # type: ignore[no-any-return]

    async def update_consumer(self, name: str, **fields: Any) -> Json:
        return await self.call("PATCH", f"/http-consumers/{name}", json=fields)  # type: ignore[no-any-return]

    async def delete_consumer(self, name: str) -> None:
        answer = await self.call("DELETE", f"/http-consumers/{name}")
        assert answer == {"id": name, "deleted": True}

    async def list_consumers(self, **query: Any) -> Json:
        return await self.call("GET", "/http-consumers", params=query)  # type: ignore[no-any-return]

    async def reset_consumer(self, name: str, deliver_policy: str) -> Json:
        return await self.call("POST", f"/http-consumers/{name}/reset", json={"deliver_policy": deliver_policy})  # type: ignore[no-any-return]

    async def pause_consumer(self, name: str) -> Json:
        return await self.call("POST", f"/http-consumers/{name}/pause", json={"until": None})  # type: ignore[no-any-return]

    async def resume_consumer(self, name: str) -> Json:
        return await self.call("POST", f"/http-consumers/{name}/resume")  # type: ignore[no-any-return]

    async def next(self, consumer: str, batch_size: int = 1, min_batch: int = 1, wait_ms: int = 0) -> Json:
        params = {"batch_size": batch_size, "min_batch": min_batch, "wait_for": wait_ms}
        return await self.call("GET", f"/http-consumers/{consumer}/next", params=params)  # type: ignore[no-any-return]

    async def settle_and_fetch(self, consumer: str, batch_size: int, ack: list[str], nack: list[Json]) -> Json:
        body = {"batch_size": batch_size, "ack": ack, "nack": nack}
        return await self.call("POST", f"/http-consumers/{consumer}/next", json=body)  # type: ignore[no-any-return]

    async def ack(self, consumer: str, tokens: list[str]) -> Json:
        return await self.call("POST", f"/http-consumers/{consumer}/ack", json={"ack_tokens": tokens})  # type: ignore[no-any-return]

    async def nack(self, consumer: str, tokens: list[str], delay_ms: int | None = None) -> Json:
        body: Json = {"ack_tokens": tokens} | ({} if delay_ms is None else {"delay_ms": delay_ms})
        return await self.call("POST", f"/http-consumers/{consumer}/nack", json=body)  # type: ignore[no-any-return]

    async def nack_each(self, consumer: str, nacks: list[Json]) -> Json:
        return await self.call("POST", f"/http-consumers/{consumer}/nack", json={"nacks": nacks})  # type: ignore[no-any-return]

    async def extend(self, consumer: str, tokens: list[str]) -> Json:
        return await self.call("POST", f"/http-consumers/{consumer}/extend", json={"ack_tokens": tokens})  # type: ignore[no-any-return]

    async def pending(self, consumer: str, **query: Any) -> Json:
        return await self.call("GET", f"/http-consumers/{consumer}/pending", params=query)  # type: ignore[no-any-return]

    async def peek(self, consumer: str, limit: int = 10) -> list[Json]:
        return (await self.call("GET", f"/http-consumers/{consumer}/peek", params={"limit": limit}))["data"]  # type: ignore[no-any-return]

    async def dead_letters(self, consumer: str, **query: Any) -> Json:
        return await self.call("GET", f"/http-consumers/{consumer}/dead-letters", params=query)  # type: ignore[no-any-return]

    async def redrive(self, consumer: str, dry_run: bool = False) -> Json:
        body = {"dry_run": dry_run}
        return await self.call("POST", f"/http-consumers/{consumer}/dead-letters/redrive", json=body)  # type: ignore[no-any-return]


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
