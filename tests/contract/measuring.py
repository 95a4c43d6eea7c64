"""Shared by the tests of bounded answers: an API with small answers, and large messages."""

from collections.abc import AsyncIterator

import httpx
import pytest

from broker import Broker
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.settings import Settings
from tests.contract.helpers import body, event
from tests.support.api import HttpApi, Json

ROOM = 20_000
SIZE = 3_000  # of a message: five or more of them fit, ten do not
KINDS: list[Json] = [
    {}, {"stream_id": "records"}, {"filters": {"provider": "crm"}}, {"ordering": "key"}, {"stream_id": "records", "ordering": "key"},
]  # fmt: skip
IDS = ["plain", "records", "filtered", "key", "records-key"]


@pytest.fixture
async def measured(small: Broker) -> AsyncIterator[HttpApi]:
    """The `api` of these tests: HTTP over the broker `small`. No answer is larger than what it may be."""
    tokens = AccessTokens(small.store, open_mode=OpenMode())
    await tokens.start()

    async def measure(reply: httpx.Response) -> None:
        assert len(await reply.aread()) <= ROOM or reply.request.url.path.endswith("/alone/next")

    transport = httpx.ASGITransport(create_app(small, tokens, Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", event_hooks={"response": [measure]}) as client:
        yield HttpApi(client)
    await tokens.close()


def text(n: int, size: int = SIZE) -> str:
    return f"{n} ".ljust(size, "x")


async def publish(api: HttpApi, count: int, stream: str = "events", first: int = 0) -> None:
    """Events with data of some 3 KB that begin with 0, 1, …"""
    keys = [{"key": str(n)} if stream == "events" else {} for n in range(first, first + count)]
    await api.publish(stream, [event(text(n), id=str(n), **key) for n, key in enumerate(keys, first)])


def numbers(rows: list[Json]) -> list[int]:
    return [int(body(row)["data"].split()[0]) for row in rows]


async def all_of(api: HttpApi, count: int, name: str = "c") -> list[int]:
    """What calls of `next` for a thousand give until so many have come; each gives some, and none all."""
    given: list[int] = []
    while len(given) < count:
        batch = await api.next(name, 1000)
        assert 1 <= len(batch["data"]) < 10
        given += numbers(batch["data"])
        assert batch["info"]["num_ack_pending"] == len(given)
    return given
