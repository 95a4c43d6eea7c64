"""Shared by the tests of delivery control: the API by HTTP, and a consumer `c` of events."""

from typing import Any

import httpx
import pytest

from tests.contract.helpers import tokens
from tests.support.api import HttpApi, Json

WAIT = 30_000


@pytest.fixture
async def by_http(http: httpx.AsyncClient) -> HttpApi:
    """The `api` of these tests: the rules are about the HTTP API, and the library is a call away from it."""
    return HttpApi(http)


async def consumer(api: HttpApi, **fields: Any) -> None:
    """A consumer `c` of events."""
    await api.create_consumer(name="c", stream_id="events", **fields)


async def publish(api: HttpApi, *data: Any, collection_id: str = "a:b") -> list[str]:
    """Events; gives their message ids."""
    answer = await api.publish("events", [{"collection_id": collection_id, "data": value} for value in data])
    return [row["message_id"] for row in answer["data"]]


async def post(api: HttpApi, path: str, body: Json | None = None) -> Any:
    """POST below the consumer."""
    return await api.call("POST", f"/http-consumers/c/{path}", json=body if body is not None else {})


def given(batch: Json) -> list[tuple[Any, int]]:
    """Data and deliver count of a batch."""
    return [(row["event"]["data"], row["deliver_count"]) for row in batch["data"]]


async def counts(api: HttpApi) -> tuple[int, int, int, int]:
    """num_pending, num_ack_pending, num_dead, num_redelivered."""
    info = (await api.get_consumer("c"))["info"]
    return info["num_pending"], info["num_ack_pending"], info["num_dead"], info["num_redelivered"]


async def kill(api: HttpApi, *data: Any, collection_id: str = "a:b") -> list[str]:
    """Dead letters of `c`, which has max_deliver 1."""
    ids = await publish(api, *data, collection_id=collection_id)
    await api.nack("c", tokens(await api.next("c", len(data))))
    return ids


async def reject(api: HttpApi) -> int:
    """A worker that can do nothing with what it gets."""
    held = tokens(await api.next("c", 1000))
    if held:
        await post(api, "nack", {"nacks": [{"ack_token": token, "outcome": "reject"} for token in held]})
    return len(held)


async def kill_by_reject(api: HttpApi) -> None:
    """One dead letter."""
    await publish(api, 1)
    await post(api, "nack", {"nacks": [{"ack_token": tokens(await api.next("c"))[0], "outcome": "reject"}]})
