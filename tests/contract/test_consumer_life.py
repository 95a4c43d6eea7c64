"""Consumers are created and deleted, and share out messages while they live (C18, C19)."""

import asyncio

import anyio
import httpx
import pytest

from broker import Store
from tests.contract.helpers import (
    body,
    counts,
    data,
    event,
    publish_each,
    record,
    take,
    tokens,
)
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio


# C18: creating


async def test_c18_creating_answers_201_then_200_then_409(http: httpx.AsyncClient) -> None:
    given = {"name": "c", "stream_id": "events", "filters": {"provider": "crm"}, "metadata": {"a": 1, "b": 2}}
    first = await http.post("/v1/http-consumers", json=given)
    again = await http.post("/v1/http-consumers", json={"metadata": {"b": 2, "a": 1}, "ack_wait": 30000, "max_deliver": -1} | given)
    other = await http.post("/v1/http-consumers", json=given | {"max_deliver": 5})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json() == first.json()
    assert other.json()["code"] == "CONSUMER_EXISTS"


OTHERS: list[Json] = [
    {"stream_id": "records"}, {"ack_wait_ms": 1000}, {"max_deliver": 5}, {"max_ack_pending": 5}, {"max_waiting": 5},
    {"deliver_policy": "new"}, {"filters": {"provider": "x"}}, {"ordering": "key"}, {"backoff_ms": [1]}, {"metadata": {"a": 1}},
]  # fmt: skip


async def test_c18_any_other_field_is_a_conflict(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    before = await api.get_consumer("c")
    for other in OTHERS:
        with pytest.raises(Refused) as refusal:
            await api.create_consumer(**{"name": "c", "stream_id": "events"} | other)
        assert (refusal.value.status, refusal.value.code) == (409, "CONSUMER_EXISTS"), other
        assert await api.get_consumer("c") == before


async def test_c18_creating_again_leaves_what_is_out(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events", filters={"provider": ["crm", "x"]})
    await publish_each(api, [1, 2])
    batch = await api.next("c")
    await api.create_consumer(name="c", stream_id="events", filters={"provider": ["crm", "x"]})
    assert await counts(api, "c") == (1, 1, 0, 0)
    assert await api.ack("c", tokens(batch)) == {"acked": 1, "stale": []}


# C18: deleting


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c18_deleting_drops_all_delivery_state(api: Api, store: Store, stream: str, filters: Json) -> None:
    await api.publish(stream, [event(i, id=str(i)) for i in range(4)])
    keys = set(await store.call("KEYS", "*"))
    await api.create_consumer(name="c", stream_id=stream, max_deliver=2, filters=filters)
    batch = await api.next("c", 3)
    await api.nack("c", tokens(batch)[:1])
    await api.nack("c", tokens(await api.next("c", 1)))
    await api.nack("c", tokens(batch)[1:2], delay_ms=1000)
    assert await counts(api, "c") == (2, 1, 1, 0)
    await api.delete_consumer("c")
    with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
        await api.next("c")
    left = {key.decode() for key in set(await store.call("KEYS", "*")) - keys if not key.startswith(b"broker:test:")}
    assert not [key for key in left if key.endswith(":c")]
    await api.create_consumer(name="c", stream_id=stream, max_deliver=2, filters=filters)
    assert await counts(api, "c") == (4, 0, 0, 0)
    assert [(body(d)["data"], d["deliver_count"]) for d in (await api.next("c", 9))["data"]] == [(0, 1), (1, 1), (2, 1), (3, 1)]


async def test_c18_a_name_is_free_again_on_another_stream(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await api.delete_consumer("c")
    assert (await api.create_consumer(name="c", stream_id="records"))["stream_id"] == "records"
    await api.publish("records", [record("a", 1)])
    assert await take(api, "c") == [1]


# C19


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c19_each_consumer_gets_every_matching_message(api: Api, stream: str) -> None:
    for name, filters in (("all", {}), ("also", {}), ("crm", {"provider": "crm"}), ("same", {"provider": ["crm"]})):
        await api.create_consumer(name=name, stream_id=stream, filters=filters)
    await api.publish(stream, [event(1, "crm:a", id="1"), event(2, "erp:a", id="2"), event(3, "crm:b", id="3")])
    assert await take(api, "all") == [1, 2, 3]
    assert await counts(api, "also") == (3, 0, 0, 0)
    assert await take(api, "crm", 1) == [1]
    assert await take(api, "same") == [1, 3]
    assert await take(api, "also") == [1, 2, 3]
    assert await take(api, "crm") == [3]


async def test_c19_a_message_is_out_with_one_worker_at_a_time(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await publish_each(api, list(range(50)))
    batches = await asyncio.gather(*(api.next("c", 7) for _ in range(10)))
    assert sorted(value for batch in batches for value in data(batch)) == list(range(50))
    assert sum(len(batch["data"]) for batch in batches) == 50


async def test_max_waiting_bounds_the_calls_that_wait(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events", "max_waiting": 1})
    calls = [asyncio.create_task(http.get("/v1/http-consumers/c/next?wait_for=60s")) for _ in range(2)]
    with anyio.fail_after(20):
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [call.result() for call in done]
        assert (refused.status_code, refused.json()["code"]) == (429, "TOO_MANY_WAITING")
        assert int(refused.headers["retry-after"]) >= 0
        await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
        assert [data((await call).json()) for call in waiting] == [[1]]


async def test_c9_a_name_of_a_group_that_another_client_made_is_refused_and_says_so(http: httpx.AsyncClient, store: Store) -> None:
    await store.call("XGROUP", "CREATE", "broker:{events}:log", "taken", "$", "MKSTREAM")
    for _ in range(2):
        reply = await http.post("/v1/http-consumers", json={"name": "taken", "stream_id": "events"})
        assert (reply.status_code, reply.json()["code"]) == (409, "CONSUMER_EXISTS")
        assert "another Redis client made" in reply.json()["summary"]
        assert (await http.get("/v1/http-consumers/taken")).status_code == 404
