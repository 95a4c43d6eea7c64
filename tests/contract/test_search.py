"""Searching a stream, and one message with what became of it: C58."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.asking import consumer, get, info, post, publish, settle, take
from tests.contract.helpers import event, plain_add, record
from tests.support.api import Json

pytestmark = pytest.mark.anyio

PATH = "/streams/events/messages"
MESSAGES: list[Json] = [
    event({"order": 4711}, id="e1", key="k1", upstream_id="u1", resource_id="r1"),
    event({"order": 4712, "note": 'say "4711" \\ ü'}, id="e2", key="k1", upstream_id="u2"),
    event([1, {"id": "e1", "key": "k1"}], "shop:orders", id="e3", key='quo"te\n', changes={"data": 4711}),
    event("plain text", "shop:orders", id="e4", upstream_id="u1"),
]


async def found(http: httpx.AsyncClient, path: str = PATH, **query: Any) -> list[str]:
    """The ids of what a search finds."""
    page = await get(http, path, **query)
    assert set(page) == {"data", "next", "scanned"}
    assert page["next"] is None
    return [(row.get("event") or row["record"])["id"] for row in page["data"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["e1", "e2", "e3", "e4"]),
        ({"order": "desc"}, ["e4", "e3", "e2", "e1"]),
        ({"id": "e1"}, ["e1"]),
        ({"id": "nothing"}, []),
        ({"key": "k1"}, ["e1", "e2"]),
        ({"key": 'quo"te\n'}, ["e3"]),
        ({"upstream_id": "u1", "order": "desc"}, ["e4", "e1"]),
        ({"upstream_id": "u1", "collection_id": "shop:orders"}, ["e4"]),
        ({"resource_id": "r1"}, ["e1"]),
        ({"contains": "4711"}, ["e1", "e2"]),
        ({"contains": '"order":4711'}, ["e1"]),
        ({"contains": "ü"}, ["e2"]),
        ({"contains": "4711", "key": "k1", "upstream_id": "u2"}, ["e2"]),
        ({"contains": "crm:contacts"}, []),
    ],
)
async def test_c58_filters(http: httpx.AsyncClient, query: Json, expected: list[str]) -> None:
    await post(http, PATH, {"messages": MESSAGES})
    assert await found(http, **query) == expected


async def test_c58_records_and_plain_entries(http: httpx.AsyncClient, store: Store) -> None:
    await publish(http, record("a", {"n": 1}, upstream_id="u"), record("b", {"n": 2}), stream="records")
    assert await found(http, "/streams/records/messages", contains='"n":2') == ["b"]
    assert await found(http, "/streams/records/messages", upstream_id="u") == ["a"]
    await plain_add(store, "collection_id", "x:y", "id", "p1", "key", "k9", "order", "4711")
    await plain_add(store, "collection_id", "x:y", "id", "p2", "data", '{"order":4712}')
    assert await found(http, contains="4711") == ["p1"]
    assert await found(http, contains='"order":4712') == ["p2"]
    assert await found(http, key="k9") == ["p1"]


async def test_c58_a_message_id_finds_its_message(http: httpx.AsyncClient) -> None:
    ids = await publish(http, *MESSAGES)
    assert await found(http, id=ids[2]) == ["e3"]
    await publish(http, event(1, id="7-7"))
    assert await found(http, id="7-7") == ["7-7"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_c58_times(http: httpx.AsyncClient, order: str) -> None:
    at = []
    for message in MESSAGES:
        at.append(datetime.now(UTC).isoformat())
        await asyncio.sleep(0.005)
        await publish(http, message)
        await asyncio.sleep(0.005)

    async def between(**query: str) -> list[str]:
        ids = await found(http, order=order, **query)
        return ids if order == "asc" else ids[::-1]

    assert await between(**{"from": at[2]}) == ["e3", "e4"]
    assert await between(to=at[2]) == ["e1", "e2"]
    assert await between(**{"from": at[1], "to": at[3]}) == ["e2", "e3"]
    assert await between(**{"from": "2999-01-01T00:00:00Z"}) == []
    assert await between(to="1970-01-01T00:00:00Z") == []
    assert await between(**{"from": "1969-01-01T00:00:00+01:00", "to": "9999-12-31T23:59:59Z"}) == ["e1", "e2", "e3", "e4"]


@pytest.mark.parametrize("query", [{"from": "yesterday"}, {"to": "5m"}, {"order": "up"}, {"limit": "0"}, {"after": "x"}])
async def test_c58_bad_values(http: httpx.AsyncClient, query: Json) -> None:
    reply = await http.get(f"/v1{PATH}", params=query)
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_c58_pages_go_on_in_their_order(http: httpx.AsyncClient, order: str) -> None:
    for part in range(3):
        await publish(http, *(event(i, key="even" if i % 2 == 0 else "odd") for i in range(1000 * part, 1000 * part + 1000)))
    seen: list[int] = []
    after: Json = {}
    while True:
        page = await get(http, PATH, key="odd", order=order, limit=400, **after)
        seen += [row["event"]["data"] for row in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == sorted(range(1, 3000, 2), reverse=order == "desc")


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_c58_a_call_looks_at_10000_messages_at_most(http: httpx.AsyncClient, order: str) -> None:
    lines = b"".join(b'{"collection_id":"a:b","id":"x%d","data":%d}\n' % (i, i) for i in range(12_000))
    reply = await http.post(f"/v1{PATH}", content=lines, headers={"content-type": "application/x-ndjson"})
    assert reply.status_code == 200
    needle = "11999" if order == "asc" else "0"
    page = await get(http, PATH, id=f"x{needle}", order=order)
    assert (page["data"], page["scanned"]) == ([], 10_000)
    page = await get(http, PATH, id=f"x{needle}", order=order, after=page["next"])
    assert [row["event"]["data"] for row in page["data"]] == [int(needle)]
    assert (page["next"], page["scanned"]) == (None, 2000)


async def test_c58_a_call_looks_at_8_mib_at_most(http: httpx.AsyncClient) -> None:
    big = "x" * 1_000_000
    for i in range(12):
        await publish(http, event(big, id=f"big{i}"))
    page = await get(http, PATH, id="big11")
    assert page["data"] == []
    assert 8 <= page["scanned"] <= 10
    assert [row["event"]["id"] for row in (await get(http, PATH, id="big11", after=page["next"]))["data"]] == ["big11"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_c58_pages_of_a_search_whose_text_stands_outside_of_data_too(http: httpx.AsyncClient, order: str, limit: int) -> None:
    await publish(http, *(event("4711" if n % 7 == 0 else "", key="4711", id=f"e{n}") for n in range(50)))
    seen: list[str] = []
    after: Json = {}
    while True:
        page = await get(http, PATH, contains="4711", order=order, limit=limit, **after)
        assert len(page["data"]) <= limit
        seen += [row["event"]["id"] for row in page["data"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == [f"e{n}" for n in range(0, 50, 7)][:: 1 if order == "asc" else -1]


async def test_c58_a_long_text_is_compared_to_its_end(http: httpx.AsyncClient) -> None:
    text = "x" * 2000
    await publish(http, *(event(f"{text}{n}", id=f"e{n}", key=f"{text[:200]}{n}") for n in range(3)))
    assert await found(http, contains=f"{text}1") == ["e1"]
    assert await found(http, contains=f"{text}3") == []
    assert await found(http, key=f"{text[:200]}2") == ["e2"]


# One message


async def states(http: httpx.AsyncClient, message_id: str, stream: str = "events") -> dict[str, Json]:
    answer = await get(http, f"/streams/{stream}/messages/{message_id}")
    assert set(answer) == {"id", "record" if stream == "records" else "event", "consumers"}
    assert answer["id"] == message_id
    rows = answer["consumers"]
    assert [row["consumer"] for row in rows] == sorted(row["consumer"] for row in rows)
    return {row.pop("consumer"): row for row in rows}


FIELDS: list[Json] = [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}]


@pytest.mark.parametrize("fields", FIELDS)
async def test_c58_the_life_of_a_message(http: httpx.AsyncClient, clock: Clock, fields: Json) -> None:
    [before] = await publish(http, event(0))
    await consumer(http, deliver_policy="new", max_deliver=3, ack_wait_ms=10_000, **fields)
    [message] = await publish(http, event(1, key="a"))
    assert await states(http, before) == {"c": {"state": "before_start"}}
    assert await states(http, message) == {"c": {"state": "new"}}
    tokens = await take(http, worker="anna")
    row = (await states(http, message))["c"]
    pending = (await get(http, "/http-consumers/c/pending"))["data"][0]
    for name in ("delivered_at", "expires_at"):  # Redis tells how long ago; two looks may differ by a ms
        assert abs((datetime.fromisoformat(row.pop(name)) - datetime.fromisoformat(pending[name])).total_seconds()) < 0.1
    assert row == {"state": "out", "worker": "anna", "deliver_count": 1}
    await post(http, "/http-consumers/c/nack", {"nacks": [{"ack_token": tokens[0], "delay_ms": 5000, "reason": "later"}]})
    row = (await states(http, message))["c"]
    [retry] = (await get(http, "/http-consumers/c/retrying"))["data"]
    assert row == {"state": "retrying", "deliver_count": 1, "due_at": retry["due_at"], "reason": "later"}
    await clock.advance(5001)
    await post(http, "/http-consumers/c/nack", {"nacks": [{"ack_token": token, "outcome": "reject"} for token in await take(http)]})
    assert await states(http, message) == {"c": {"state": "dead", "deliver_count": 2, "reason": "rejected"}}
    await post(http, "/http-consumers/c/dead-letters/redrive", {})
    assert (await states(http, message))["c"]["state"] == "retrying"
    await settle(http, "ack", await take(http))
    assert await states(http, message) == {"c": {"state": "done"}}


@pytest.mark.parametrize("policy", ["all", "last"])
async def test_c58_every_consumer_of_the_stream_has_a_row(http: httpx.AsyncClient, policy: str) -> None:
    for i in range(60):
        await consumer(http, name=f"c{i:02}", filters={"provider": "crm" if i % 2 else "shop"}, deliver_policy=policy)
    await consumer(http, name="elsewhere", stream_id="records")
    [first, second] = await publish(http, event(1), event(2))
    found = await states(http, second)
    assert len(found) == 60
    assert {name: row["state"] for name, row in found.items()} == {f"c{i:02}": "new" if i % 2 else "filtered" for i in range(60)}
    assert (await states(http, first))["c01"]["state"] == "new"


async def test_c58_blocked_by_its_key(http: httpx.AsyncClient) -> None:
    await consumer(http, ordering="key")
    ids = await publish(http, event(0, key="a"), event(1, key="a"), event(2, key="b"))
    [token] = await take(http)
    assert [(await states(http, i))["c"]["state"] for i in ids] == ["out", "blocked", "new"]
    await take(http, 5)
    assert [(await states(http, i))["c"]["state"] for i in ids] == ["out", "blocked", "out"]
    await settle(http, "ack", [token])
    assert [(await states(http, i))["c"]["state"] for i in ids] == ["done", "new", "out"]
    assert (await info(http))["num_retrying"] == 0


async def test_c58_a_record_and_what_is_no_message(http: httpx.AsyncClient) -> None:
    [old] = await publish(http, record("a", 1), stream="records")
    [new] = await publish(http, record("a", 2), stream="records")
    assert (await get(http, f"/streams/records/messages/{new}"))["record"]["data"] == 2
    for path, code in (
        (f"/streams/records/messages/{old}", "MESSAGE_NOT_FOUND"), ("/streams/events/messages/1-1", "MESSAGE_NOT_FOUND"),
        ("/streams/events/messages/nonsense", "MESSAGE_NOT_FOUND"), ("/streams/none/messages/1-1", "STREAM_NOT_FOUND"),
    ):  # fmt: skip
        reply = await http.get(f"/v1{path}")
        assert (reply.status_code, reply.json()["code"]) == (404, code), path
