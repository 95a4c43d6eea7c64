"""Who has a message: the name that a worker gives with `next`."""

import asyncio
from typing import Any

import httpx
import pytest

from broker import Broker, ConsumerSpec, Store
from tests.conftest import Clock
from tests.contract.helpers import event, plain_read
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

CONSUMER = "/v1/http-consumers/c"
SHAPES: list[dict[str, Any]] = [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}]


async def begin(http: httpx.AsyncClient, messages: int, **fields: Any) -> None:
    made = await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"} | fields)
    assert made.status_code == 201, made.text
    body = {"messages": [event(i, key=f"key-{i}") for i in range(messages)]}
    assert not messages or (await http.post("/v1/streams/events/messages", json=body)).status_code == 200


async def take(http: httpx.AsyncClient, worker: str | None, batch_size: int = 1, **query: Any) -> list[str]:
    """Fetch as this worker; gives the tokens."""
    params = {"batch_size": batch_size} | ({} if worker is None else {"worker": worker}) | query
    reply = await http.get(f"{CONSUMER}/next", params=params)
    assert reply.status_code == 200, reply.text
    return [d["ack_token"] for d in reply.json()["data"]]


async def workers(http: httpx.AsyncClient) -> list[str | None]:
    return [row["worker"] for row in (await http.get(f"{CONSUMER}/pending")).json()["data"]]


@pytest.mark.parametrize("fields", SHAPES)
async def test_c59_pending_names_who_has_each_message(http: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    await begin(http, 6, **fields)
    await take(http, "anna", 2)
    await take(http, None)
    reply = await http.post(f"{CONSUMER}/next", json={"worker": "pod/7:b@x", "batch_size": 2})
    assert len(reply.json()["data"]) == 2
    assert await workers(http) == ["anna", "anna", None, "pod/7:b@x", "pod/7:b@x"]


@pytest.mark.parametrize("fields", SHAPES)
async def test_c59_a_redelivery_belongs_to_who_took_it_last(http: httpx.AsyncClient, clock: Clock, fields: dict[str, Any]) -> None:
    await begin(http, 3, ack_wait_ms=1000, **fields)
    tokens = await take(http, "anna", 3)
    await http.post(f"{CONSUMER}/nack", json={"ack_tokens": tokens[:1]})
    assert await workers(http) == ["anna", "anna"]
    await clock.advance(1001)
    assert [row["expired"] for row in (await http.get(f"{CONSUMER}/pending")).json()["data"]] == [True, True]
    assert len(await take(http, "ben", 2)) == 2
    assert len(await take(http, None, 2)) == 1
    rows = (await http.get(f"{CONSUMER}/pending")).json()["data"]
    assert [(row["worker"], row["expired"], row["deliver_count"]) for row in rows] == [("ben", False, 2)] * 2 + [(None, False, 2)]


async def test_c59_a_waiting_call_takes_with_its_name(http: httpx.AsyncClient, broker: Broker) -> None:
    await begin(http, 0)
    waiting = [asyncio.create_task(take(http, name, wait_for="5s")) for name in ("anna", None, "ben")]
    await eventually(lambda: broker.waiting.count == 3)
    await http.post("/v1/streams/events/messages", json={"messages": [event(i) for i in range(3)]})
    assert [len(tokens) for tokens in await asyncio.gather(*waiting)] == [1, 1, 1]
    assert sorted(map(str, await workers(http))) == ["None", "anna", "ben"]


async def test_c59_a_dead_letter_names_its_last_worker(http: httpx.AsyncClient, clock: Clock) -> None:
    await begin(http, 4, max_deliver=1, ack_wait_ms=1000)
    rejected = {"ack_token": (await take(http, "anna"))[0], "outcome": "reject"}
    await http.post(f"{CONSUMER}/nack", json={"nacks": [rejected]})
    await http.post(f"{CONSUMER}/nack", json={"ack_tokens": await take(http, "ben")})
    await take(http, "carl")
    await take(http, None)
    await clock.advance(1001)
    letters = (await http.get(f"{CONSUMER}/dead-letters")).json()["data"]
    assert [letter["last_worker"] for letter in letters] == ["anna", "ben", "carl", None]


async def test_c59_a_plain_client_shows_its_own_name(http: httpx.AsyncClient, store: Store) -> None:
    await begin(http, 2)
    await plain_read(store, "c")
    assert await workers(http) == ["someworker"]


async def test_c59_names_of_a_named_worker_do_not_make_it_a_plain_reader(http: httpx.AsyncClient, clock: Clock) -> None:
    await begin(http, 3, ack_wait_ms=10_000)
    tokens = await take(http, "anna")
    assert (await http.post(f"{CONSUMER}/extend", json={"ack_tokens": tokens})).json() == {"extended": 1, "stale": []}
    await clock.advance(10_001)
    assert await take(http, "anna") == [tokens[0].replace(".1.", ".2.")]


@pytest.mark.parametrize("worker", ["", "a b", "x" * 65, "a\u00a0b", "a\n", "\x7f", "\u200b"])
async def test_c59_a_name_is_1_to_64_visible_characters(http: httpx.AsyncClient, worker: str) -> None:
    await begin(http, 1)
    for reply in (
        await http.get(f"{CONSUMER}/next", params={"worker": worker}),
        await http.post(f"{CONSUMER}/next", json={"worker": worker}),
    ):
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert (await http.post(f"{CONSUMER}/next", json={"worker": 7})).status_code == 400
    assert await workers(http) == []


async def test_c59_a_visible_character_need_not_be_ascii(http: httpx.AsyncClient) -> None:
    await begin(http, 2)
    name = "ämter-" + "工" * 58
    await take(http, name)
    assert (await http.post(f"{CONSUMER}/next", json={"worker": name})).json()["data"]
    assert await workers(http) == [name, name]
    assert (await http.post(f"{CONSUMER}/pending/release", json={"worker": name})).json() == {"released": 2}


async def test_c59_names_that_nobody_needs_any_more_are_forgotten(broker: Broker, store: Store) -> None:
    """A client may call itself something else each time."""
    await broker.publish("events", [event(0)])
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await broker.next("c", worker="holder")
    for i in range(2200):
        await broker.next("c", worker=f"w{i}")
    readers = await store.call("XINFO", "CONSUMERS", "broker:{events}:log", "c")
    assert len(readers) <= 1002
    assert [row.worker for row in (await broker.deliveries.pending("c"))[0]] == ["holder"]
