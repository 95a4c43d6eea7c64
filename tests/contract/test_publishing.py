"""Publishing: the answer, and what is refused (C12-C14)."""

import json
import uuid
from collections.abc import AsyncIterator

import httpx
import msgpack
import pytest

from tests.contract.helpers import AS_JSON, body, data, event, record, statuses
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

EVENTS = "/v1/streams/events/messages"


async def refusal_of(api: Api, stream: str, messages: list[Json]) -> Refused:
    with pytest.raises(Refused) as refusal:
        await api.publish(stream, messages)
    return refusal.value


# The messages


async def test_c12_an_answer_has_a_row_a_message_in_order(api: Api) -> None:
    answer = await api.publish("events", [event(1, id="x"), event(2), event(3, id="x"), event(4, id="y")])
    rows = answer["data"]
    assert [set(row) for row in rows] == [{"id", "message_id", "status"}] * 4
    assert statuses(answer) == ["created", "created", "duplicate", "created"]
    assert answer["info"] == {"created": 3, "duplicate": 1}
    assert [rows[i]["id"] for i in (0, 2, 3)] == ["x", "x", "y"]
    assert uuid.UUID(rows[1]["id"])
    listed = [row["id"] for row in (await api.messages("events"))["data"]]
    assert [row["message_id"] for row in rows] == [listed[0], listed[1], listed[0], listed[2]]


async def test_c12_records_tell_every_status(api: Api) -> None:
    old, new = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    await api.publish("records", [record(n, 1, upstream_updated_at=new) for n in "bcde"])
    answer = await api.publish(
        "records",
        [
            record("a", 1), record("b", 2, upstream_updated_at=new), record("c", 1, upstream_updated_at=new),
            record("d", 2, upstream_updated_at=old), {"id": "e", "collection_id": "crm:contacts", "deleted": True},
        ],
    )  # fmt: skip
    assert statuses(answer) == ["created", "updated", "unchanged", "stale", "deleted"]
    assert answer["info"] == {"created": 1, "updated": 1, "unchanged": 1, "stale": 1, "deleted": 1}


async def test_c12_what_changes_nothing_names_the_message_that_stands(api: Api) -> None:
    first = await api.publish("records", [record("a", 1)])
    again = await api.publish("records", [record("a", 1)])
    assert again["data"] == [first["data"][0] | {"status": "unchanged"}]
    one = await api.publish("events", [event(1, id="x")])
    two = await api.publish("events", [event(2, id="x")])
    assert two["data"] == [one["data"][0] | {"status": "duplicate"}]


# C13


INVALID_EVENTS: list[tuple[Json, str]] = [
    ({"data": 1}, "collection_id"), ({"collection_id": "", "data": 1}, "collection_id"), ({"collection_id": "a:b"}, "data"),
    ({"collection_id": "x" * 256, "data": 1}, "collection_id"), ({"collection_id": 7, "data": 1}, "collection_id"),
    (event(1, id=""), "id"), (event(1, id="x" * 256), "id"), (event(1, id=7), "id"), (event(1, upstream_id=""), "upstream_id"),
    (event(1, upstream_id="x" * 256), "upstream_id"), (event(1, event=""), "event"), (event(1, event="x" * 65), "event"),
    (event(1, changes=[]), "changes"), (event(1, changes="x"), "changes"), (event(1, resource_id=7), "resource_id"),
    (event(1, resource_id="a", sync_id="b"), "sync_id"), (event(1, upstream_created_at="yesterday"), "upstream_created_at"),
    (event(1, upstream_updated_at="2026-01-01"), "upstream_updated_at"), (event(1, upstream_updated_at=7), "upstream_updated_at"),
    (event(1, upstream_updated_at="2026-01-01T00:00:00"), "upstream_updated_at"),
    (event(1, upstream_updated_at="2026-13-01T00:00:00Z"), "upstream_updated_at"),
    (event(1, upstream_updated_at="2026-01-01T00:00:00+99:00"), "upstream_updated_at"),
]  # fmt: skip


async def test_c13_one_invalid_event_and_nothing_is_stored(api: Api) -> None:
    for bad, field in INVALID_EVENTS:
        refusal = await refusal_of(api, "events", [event(0), event(1), bad, event(3)])
        assert (refusal.status, refusal.code, list(refusal.errors)) == (422, "VALIDATION_FAILED", [f"messages[2].{field}"])
    assert await api.messages("events") == {"data": [], "next": None}


INVALID_RECORDS: list[tuple[Json, str]] = [
    ({"id": "1", "collection_id": "a:b"}, "data"), ({"id": "1", "collection_id": "a:b", "deleted": False}, "data"),
    ({"collection_id": "a:b", "data": 1}, "upstream_id"), ({"id": "1", "data": 1}, "collection_id"),
    (record("1", 1, deleted="yes"), "deleted"), (record("", 1), "id"), (record("1", 1, upstream_updated_at=""), "upstream_updated_at"),
]  # fmt: skip


async def test_c13_one_invalid_record_and_nothing_is_stored(api: Api) -> None:
    for bad, field in INVALID_RECORDS:
        refusal = await refusal_of(api, "records", [record("0", 0), bad])
        assert (refusal.status, refusal.code, list(refusal.errors)) == (422, "VALIDATION_FAILED", [f"messages[1].{field}"])
    assert await api.messages("records") == {"data": [], "next": None}


@pytest.mark.parametrize("length", [1, 255])
async def test_texts_at_their_bounds(api: Api, length: int) -> None:
    text = "ä" * length
    fields = {"id": text, "upstream_id": text, "resource_id": text, "key": text, "event": text[:64]}
    await api.publish("events", [event(1, text, **fields)])
    found = body((await api.messages("events"))["data"][0])
    assert {name: found[name] for name in ("collection_id", *fields)} == {"collection_id": text} | fields


@pytest.mark.parametrize("count", [0, 1001])
async def test_c13_a_request_has_1_to_1000_messages(api: Api, count: int) -> None:
    refusal = await refusal_of(api, "events", [event(i) for i in range(count)])
    assert (refusal.status, list(refusal.errors)) == (422, ["messages"])
    assert await api.messages("events") == {"data": [], "next": None}


async def test_c13_1000_messages_are_taken(api: Api) -> None:
    answer = await api.publish("events", [event(i) for i in range(1000)])
    assert answer["info"] == {"created": 1000}
    assert data(await api.messages("events", limit=1000)) == list(range(1000))


async def test_c13_a_msgpack_request_is_all_or_nothing_too(http: httpx.AsyncClient) -> None:
    packed = msgpack.packb({"messages": [event(0), event(1, event=7)]})
    reply = await http.post(EVENTS, content=packed, headers={"Content-Type": "application/msgpack"})
    assert (reply.status_code, list(reply.json()["validation_errors"])) == (422, ["messages[1].event"])
    assert (await http.get(EVENTS)).json()["data"] == []


async def test_c13_an_unknown_stream_takes_nothing(api: Api) -> None:
    assert (await refusal_of(api, "none", [event(1)])).code == "STREAM_NOT_FOUND"


# C14


async def test_c14_a_message_over_1_mib_is_too_large(api: Api) -> None:
    refusal = await refusal_of(api, "events", [event(0), event("x" * (1 << 20))])
    assert (refusal.status, refusal.code) == (413, "PAYLOAD_TOO_LARGE")
    assert await api.messages("events") == {"data": [], "next": None}


async def test_c14_a_message_of_almost_1_mib_is_taken(api: Api) -> None:
    text = "x" * ((1 << 20) - 2000)
    await api.publish("events", [event(text)])
    assert data(await api.messages("events")) == [text]


@pytest.mark.parametrize("declared", [True, False])
async def test_c14_a_json_body_over_8_mib_is_too_large(http: httpx.AsyncClient, declared: bool) -> None:
    content = json.dumps({"messages": [event("x" * 1_000_000) for _ in range(9)]}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for i in range(0, len(content), 1 << 20):
            yield content[i : i + (1 << 20)]

    reply = await http.post(EVENTS, content=content if declared else pieces(), headers=AS_JSON)
    assert (reply.status_code, reply.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await http.get(EVENTS)).json()["data"] == []


async def test_c14_a_json_body_of_almost_8_mib_is_taken(http: httpx.AsyncClient) -> None:
    content = json.dumps({"messages": [event("x" * 1_000_000) for _ in range(8)]}).encode()
    assert (await http.post(EVENTS, content=content, headers=AS_JSON)).json()["info"] == {"created": 8}
