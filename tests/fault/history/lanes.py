"""The ways to the broker: HTTP, the functions by the library, and plain Redis commands. Each call gives an outcome."""

import asyncio
import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from broker import Store
from broker.errors import BrokerError
from http_api.problems import STATUS
from tests.fault.history.operations import Delivery, Message, Outcome, Row
from tests.support.api import Json, Refused

T = TypeVar("T")
# 504: it may have happened. Every other error says that nothing did.
_UNKNOWN = 504
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


async def attempt(call: Awaitable[T]) -> tuple[Outcome, T | None, str]:
    """Await a call: the outcome, the answer where it is OK, and the error where it is not."""
    try:
        return Outcome.OK, await call, ""
    except Refused as exc:
        return Outcome.UNKNOWN if exc.status == _UNKNOWN else Outcome.FAIL, None, str(exc)
    except BrokerError as exc:
        status = STATUS[type(exc)]
        return Outcome.UNKNOWN if status == _UNKNOWN else Outcome.FAIL, None, f"{status} {exc}"
    except _NOT_SENT as exc:
        return Outcome.FAIL, None, type(exc).__name__
    except (httpx.TransportError, TimeoutError) as exc:
        return Outcome.UNKNOWN, None, type(exc).__name__


async def abandoned(call: Awaitable[T], seconds: float) -> T:
    """Await a call, and go away after so long. TimeoutError."""
    async with asyncio.timeout(seconds):
        return await call


def published(message: Message, kind: str) -> Json:
    """A message as the API takes it."""
    fields: Json = {"id": message.id, "collection_id": f"{message.provider}:x", "data": {"n": message.n}}
    if kind == "records":
        assert message.updated_at is not None
        fields["upstream_updated_at"] = rfc3339(message.updated_at)
        return fields | ({"deleted": True} if message.deleted else {})
    if message.deliver_at is not None:
        fields["deliver_at"] = rfc3339(message.deliver_at)
    if message.ttl is not None:
        fields["ttl_ms"] = round(message.ttl * 1000)
    return fields | ({"key": message.key} if message.key is not None else {})


def rfc3339(seconds: float) -> str:
    """A time of whole ms."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rows(answer: Json) -> list[Row]:
    """What became of each message of a publish."""
    return [Row(row["message_id"], row["status"]) for row in answer["data"]]


def deliveries(answer: Json) -> list[Delivery]:
    """What a `next` gave."""
    found = []
    for row in answer["data"]:
        body = row.get("event") or row["record"]
        key = body["key"] if "event" in row else body["id"]
        found.append(Delivery(row["ack_token"], row["id"], row["deliver_count"], number_of(body["data"]), key, body["updated_idx"]))
    return found


def number_of(data: Any) -> int:
    """The number of a message, from its data."""
    return int(data["n"]) if isinstance(data, dict) and "n" in data else -1


class Plain:
    """A plain Redis client of one stream's log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, stream: str, message: Message) -> list[Row]:
        """XADD."""
        fields = ["collection_id", f"{message.provider}:x", "id", message.id, "data", json.dumps({"n": message.n})]
        if message.key is not None:
            fields += ["key", message.key]
        added: bytes = await self._store.call("XADD", f"broker:{{{stream}}}:log", "*", *fields)
        return [Row(added.decode(), "created")]

    async def read(self, stream: str, consumer: str, count: int) -> list[Delivery]:
        """XREADGROUP of new messages."""
        log = f"broker:{{{stream}}}:log"
        reply: Any = await self._store.call("XREADGROUP", "GROUP", consumer, "plain", "COUNT", count, "STREAMS", log, ">")
        entries = (reply[0] if isinstance(reply, list) else next(iter(reply.items())))[1] if reply else []
        return [_plain_delivery(message_id.decode(), fields) for message_id, fields in entries]

    async def ack(self, stream: str, consumer: str, ids: list[str]) -> int:
        """XACK."""
        acked: int = await self._store.call("XACK", f"broker:{{{stream}}}:log", consumer, *ids)
        return acked


def _plain_delivery(message_id: str, fields: list[bytes] | dict[bytes, bytes]) -> Delivery:
    found = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    body = json.loads(found[b"body"]) if b"body" in found else {"data": json.loads(found[b"data"])}
    key = body.get("key") if b"body" in found else (found[b"key"].decode() if b"key" in found else None)
    return Delivery("", message_id, 1, number_of(body["data"]), key, 0)
