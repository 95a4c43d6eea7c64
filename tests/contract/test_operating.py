"""What an operator does with deliveries, dead letters and schedules: C57, C60, C61."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from broker import Broker, Store
from tests.conftest import Clock
from tests.contract.asking import consumer, get, info, post, publish, settle, take
from tests.contract.helpers import event, plain_read
from tests.support.api import Json
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

FIELDS: list[Json] = [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}]
RELEASE = "/http-consumers/c/pending/release"


async def out(http: httpx.AsyncClient) -> list[str]:
    return [row["id"] for row in (await get(http, "/http-consumers/c/pending"))["data"]]


@pytest.mark.parametrize("fields", FIELDS)
async def test_c60_released_deliveries_come_again_at_once_and_uncounted(http: httpx.AsyncClient, fields: Json) -> None:
    await consumer(http, max_deliver=1, backoff_ms=[60_000], **fields)
    ids = await publish(http, *(event(i, key=f"k{i}") for i in range(4)))
    tokens = await take(http, 4)
    assert await post(http, RELEASE, {"ids": [ids[2], ids[0], ids[2], "99-99"]}) == {"released": 2}
    assert await out(http) == [ids[1], ids[3]]
    assert (await settle(http, "ack", tokens)) == {"acked": 2, "stale": [tokens[0], tokens[2]]}
    batch = (await get(http, "/http-consumers/c/next", batch_size=9))["data"]
    assert [(row["id"], row["deliver_count"]) for row in batch] == [(ids[0], 1), (ids[2], 1)]
    assert (await settle(http, "ack", tokens))["acked"] == 0
    assert (await info(http))["num_dead"] == 0


@pytest.mark.parametrize("fields", FIELDS)
async def test_c60_all_that_a_worker_has_is_released(http: httpx.AsyncClient, fields: Json) -> None:
    await consumer(http, max_ack_pending=5000, **fields)
    for part in range(2):
        await publish(http, *(event(i, key=f"{part}-{i}") for i in range(1000)))
    others = await take(http, 1, worker="ben") + await take(http, 1)
    for _ in range(4):
        await take(http, 300, worker="anna")
    assert await post(http, RELEASE, {"worker": "nobody"}) == {"released": 0}
    assert await post(http, RELEASE, {"worker": "anna"}) == {"released": 1200}
    found = await info(http)
    assert (found["num_ack_pending"], found["num_retrying"]) == (2, 1200)
    assert (await settle(http, "ack", others))["acked"] == 2


async def test_c60_what_a_plain_client_has(http: httpx.AsyncClient, store: Store) -> None:
    await consumer(http)
    await publish(http, *(event(i) for i in range(3)))
    await plain_read(store, "c", 2)
    assert await post(http, RELEASE, {"worker": "someworker"}) == {"released": 2}
    assert len(await take(http, 5)) == 3


async def test_c60_a_waiting_call_gets_what_is_released(http: httpx.AsyncClient, broker: Broker) -> None:
    await consumer(http)
    [message] = await publish(http, event(1))
    await take(http)
    waiting = asyncio.create_task(take(http, wait_for="20s"))
    await eventually(lambda: broker.waiting.count == 1)
    await post(http, RELEASE, {"ids": [message]})
    assert len(await asyncio.wait_for(waiting, 5)) == 1


async def test_c60_the_released_message_keeps_its_key(http: httpx.AsyncClient) -> None:
    await consumer(http, ordering="key")
    ids = await publish(http, event(1, key="a"), event(2, key="a"))
    await take(http, 5)
    await post(http, RELEASE, {"ids": ids[:1]})
    assert [row["id"] for row in (await get(http, "/http-consumers/c/next", batch_size=5))["data"]] == ids[:1]


@pytest.mark.parametrize("body", [{}, {"ids": ["1-1"], "worker": "a"}, {"ids": []}, {"worker": ""}, {"id": "1-1"}])
async def test_c60_what_to_release_must_be_said(http: httpx.AsyncClient, body: Json) -> None:
    await consumer(http)
    reply = await http.post(f"/v1{RELEASE}", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "VALIDATION_FAILED")
    assert (await http.post("/v1/http-consumers/none/pending/release", json={"worker": "a"})).status_code == 404


# C61


async def test_c61_dead_letters_by_group(http: httpx.AsyncClient, clock: Clock) -> None:
    await consumer(http, max_deliver=1, ack_wait_ms=1000)
    path = "/http-consumers/c/dead-letters/summary"
    assert await get(http, path) == {"total": 0, "groups": []}
    await publish(http, *(event(i, "shop:orders" if i == 5 else "crm:contacts") for i in range(6)))
    tokens = await take(http, 6)
    nacks: list[Json] = [{"ack_token": token, "outcome": "reject", "reason": "no such user"} for token in tokens[:3]]
    await post(http, "/http-consumers/c/nack", {"nacks": [*nacks, {"ack_token": tokens[3], "outcome": "reject"}]})
    await clock.advance(1001)
    found = await get(http, path)
    assert found["total"] == 6
    letters = (await get(http, "/http-consumers/c/dead-letters"))["data"]
    assert [tuple(group.values())[:4] for group in found["groups"]] == [
        ("rejected", "no such user", "crm:contacts", 3),
        ("max_deliver", None, "crm:contacts", 1),
        ("max_deliver", None, "shop:orders", 1),
        ("rejected", None, "crm:contacts", 1),
    ]
    assert list(found["groups"][0])[4:] == ["first_dead_at", "last_dead_at"]
    assert (found["groups"][0]["first_dead_at"], found["groups"][0]["last_dead_at"]) == (letters[0]["dead_at"], letters[2]["dead_at"])


async def test_c61_only_10000_letters_are_looked_at_and_100_groups_told(http: httpx.AsyncClient, store: Store) -> None:
    await consumer(http)
    fields = ("head", "1 u", "body", "{}", "reason", "rejected", "dead_at", "5", "id", "1-1")
    for first in range(0, 10_100, 100):
        rows = [
            ("XADD", "broker:{events}:dead:c", "*", *fields, "last_nack_reason", f"r{i % 150:03}", "collection_id", "a:b")
            for i in range(first, first + 100)
        ]
        await store.pipeline("broker:{events}:dead:c", *rows)
    found = await get(http, "/http-consumers/c/dead-letters/summary")
    assert (found["total"], found["truncated"], len(found["groups"])) == (10_100, True, 100)
    assert [found["groups"][i]["count"] for i in (0, 99)] == [67, 67 if 10_000 % 150 >= 100 else 66]
    await store.call("XTRIM", "broker:{events}:dead:c", "MAXLEN", 10_000)
    found = await get(http, "/http-consumers/c/dead-letters/summary")
    assert (found["total"], found.get("truncated", False)) == (10_000, False)


async def test_c58_a_message_is_shown_where_a_plain_client_has_destroyed_a_group(http: httpx.AsyncClient, store: Store) -> None:
    await consumer(http)
    await post(http, "/http-consumers", {"name": "d", "stream_id": "events"})
    await publish(http, event(1))
    await store.call("XGROUP", "DESTROY", "broker:{events}:log", "c")
    [row] = (await get(http, "/streams/events/messages"))["data"]
    found = await get(http, f"/streams/events/messages/{row['id']}")
    assert [state["consumer"] for state in found["consumers"]] == ["d"]


# C57


def hence(**span: float) -> str:
    """A moment from now, in whole ms: what the stream keeps of it."""
    return (datetime.now(UTC) + timedelta(**span)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


SCHEDULED = "/streams/events/scheduled"


async def test_c57_scheduled_events_are_listed_in_the_order_of_their_time(http: httpx.AsyncClient) -> None:
    at = [hence(hours=2), hence(hours=1), hence(hours=3)]
    assert await get(http, SCHEDULED) == {"data": [], "next": None}
    await publish(http, event(0))
    await publish(http, *(event(i, id=f"e{i}", key=f'"k{i}"' if i else None, deliver_at=at[i]) for i in range(3)))
    page = await get(http, SCHEDULED)
    assert page["next"] is None
    assert [(row["id"], row["collection_id"], row["key"]) for row in page["data"]] == [
        ("e1", "crm:contacts", '"k1"'), ("e0", "crm:contacts", None), ("e2", "crm:contacts", '"k2"'),
    ]  # fmt: skip
    assert [row["deliver_at"][:22] for row in page["data"]] == [at[i][:22] for i in (1, 0, 2)]
    for stream in ("records", "none"):
        reply = await http.get(f"/v1/streams/{stream}/scheduled")
        assert reply.status_code == (200 if stream == "records" else 404)


async def test_c57_pages_of_scheduled_events(http: httpx.AsyncClient) -> None:
    same = hence(hours=1)
    await publish(http, *(event(i, id=f"e{i:03}", deliver_at=same if i < 50 else hence(hours=2)) for i in range(100)))
    seen: list[str] = []
    after: Any = {}
    while True:
        page = await get(http, SCHEDULED, limit=7, **after)
        seen += [row["id"] for row in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
        await http.delete(f"/v1{SCHEDULED}/{page['data'][-1]['id']}")  # a cursor may outlive its event
    assert seen == [f"e{i:03}" for i in range(100)]


async def test_c57_a_scheduled_event_is_cancelled(http: httpx.AsyncClient, clock: Clock) -> None:
    await consumer(http)
    when = hence(seconds=50)
    await publish(http, event(1, id="a/b c", deliver_at=when), event(2, id="kept", deliver_at=when))
    path = f"/v1{SCHEDULED}/a%2Fb%20c"
    assert (await http.delete(path)).json() == {"id": "a/b c", "cancelled": True}
    reply = await http.delete(path)
    assert (reply.status_code, reply.json()["code"]) == (404, "EVENT_NOT_FOUND")
    assert [row["id"] for row in (await get(http, SCHEDULED))["data"]] == ["kept"]
    answer = await post(http, "/streams/events/messages", {"messages": [event(3, id="a/b c", deliver_at=when)]})
    assert answer["info"] == {"created": 1}, "its id may be used again"
    await clock.advance(51_000)
    assert (await http.delete(f"/v1{SCHEDULED}/kept")).status_code == 404, "it is in the stream"
    batch = (await get(http, "/http-consumers/c/next", batch_size=9))["data"]
    assert [row["event"]["data"] for row in batch] == [2, 3]


async def test_c57_an_id_that_was_made_can_be_cancelled_too(http: httpx.AsyncClient) -> None:
    answer = await post(http, "/streams/events/messages", {"messages": [event(1, deliver_at=hence(hours=1))]})
    made = answer["data"][0]["id"]
    assert [row["id"] for row in (await get(http, SCHEDULED))["data"]] == [made]
    assert (await http.delete(f"/v1{SCHEDULED}/{made}")).status_code == 200
