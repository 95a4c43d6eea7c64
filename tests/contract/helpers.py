"""What the contract tests share: short messages, and the parts of an answer that a test compares."""

import re
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from broker import Store
from tests.support.api import Api, Json
from tests.support.servers import BACKENDS

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIRST = "0-0"
AS_JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}
NDJSON = {"Content-Type": "application/x-ndjson"}
# For many cases of what is decided before Redis is asked, or of how its answer is spelled: the kind of server cannot
# matter.
one_server = pytest.mark.parametrize("redis_server", BACKENDS[:1], indirect=True)


def event(data: Any, collection_id: str = "crm:contacts", **fields: Any) -> Json:
    """An event to publish."""
    return {"collection_id": collection_id, "data": data} | fields


def record(name: str, data: Any, collection_id: str = "crm:contacts", **fields: Any) -> Json:
    """A version of a record to publish; its id is the name."""
    return {"id": name, "collection_id": collection_id, "data": data} | fields


async def publish_each(api: Api, values: Sequence[Any], stream: str = "events", **fields: Any) -> list[str]:
    """Publish one event a value; gives their message ids."""
    return [row["message_id"] for row in (await api.publish(stream, [event(v, **fields) for v in values]))["data"]]


def tokens(batch: Json) -> list[str]:
    """The ack tokens of a batch."""
    return [d["ack_token"] for d in batch["data"]]


def body(row: Json) -> Json:
    """The record or the event of a row."""
    found: Json = row["record"] if "record" in row else row["event"]
    return found


def data(batch: Json) -> list[Any]:
    """The data of a batch's messages."""
    return [body(row)["data"] for row in batch["data"]]


def counted(batch: Json) -> list[tuple[Any, int]]:
    """The data and the deliver count of a batch's messages."""
    return [(body(row)["data"], row["deliver_count"]) for row in batch["data"]]


async def take(api: Api, consumer: str, batch_size: int = 100) -> list[Any]:
    """Fetch and ack; gives the data."""
    batch = await api.next(consumer, batch_size)
    if batch["data"]:
        assert await api.ack(consumer, tokens(batch)) == {"acked": len(batch["data"]), "stale": []}
    return data(batch)


async def counts(api: Api, consumer: str) -> tuple[int, int, int, int]:
    """num_pending, num_ack_pending, num_dead, num_redelivered."""
    info = (await api.get_consumer(consumer))["info"]
    assert set(info) == {
        "num_pending", "num_ack_pending", "num_dead", "num_redelivered", "num_retrying", "num_blocked", "oldest_pending_at",
        "oldest_ack_pending_at", "idle_because",
    }  # fmt: skip
    return info["num_pending"], info["num_ack_pending"], info["num_dead"], info["num_redelivered"]


def info(num_pending: int, num_ack_pending: int) -> Json:
    """The `info` of a `next`."""
    return {"num_pending": num_pending, "num_ack_pending": num_ack_pending}


async def plain_add(store: Store, *fields: str | bytes, at: str = "*", stream: str = "events") -> str:
    """A plain Redis client publishes."""
    added: bytes = await store.call("XADD", f"broker:{{{stream}}}:log", at, *fields)
    return added.decode()


async def plain_read(store: Store, consumer: str, count: int = 1, stream: str = "events") -> list[str]:
    """A plain Redis client takes new messages of a consumer's group; gives their ids."""
    reply: Any = await store.call("XREADGROUP", "GROUP", consumer, "someworker", "COUNT", count, "STREAMS", f"broker:{{{stream}}}:log", ">")
    rows = (reply[0] if isinstance(reply, list) else next(iter(reply.items())))[1] if reply else []
    return [row[0].decode() for row in rows]


async def plain_ack(store: Store, consumer: str, *ids: str, stream: str = "events") -> int:
    """A plain Redis client acks."""
    acked: int = await store.call("XACK", f"broker:{{{stream}}}:log", consumer, *ids)
    return acked


async def now_ms(store: Store) -> int:
    """Redis' real clock."""
    seconds, micros = await store.call("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def statuses(answer: Json) -> list[str]:
    """What became of each message of a publish."""
    return [row["status"] for row in answer["data"]]


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, list[str]]:
    """The answer is this error in the one shape; gives the fields that a 422 names."""
    problem = reply.json()
    keys = {"code", "summary"} | ({"validation_errors"} if status == 422 else set())
    assert (reply.status_code, problem["code"], set(problem)) == (status, code, keys)
    assert isinstance(problem["summary"], str)
    assert problem["summary"]
    errors: dict[str, list[str]] = problem.get("validation_errors", {})
    assert all(isinstance(reason, str) for reasons in errors.values() for reason in reasons)
    return errors
