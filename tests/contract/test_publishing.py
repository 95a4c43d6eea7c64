"""Section 4: publishing: the answer, what is stored of a message, and what is refused (C12-C14)."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator

import httpx
import msgpack
import pytest

from tests.contract.helpers import TIME, body, data, event, record, statuses
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

NDJSON = {"Content-Type": "application/x-ndjson"}
AS_JSON = {"Content-Type": "application/json"}
EVENTS, RECORDS = "/v1/streams/events/messages", "/v1/streams/records/messages"
EVENT_KEYS = {
    "id", "collection_id", "provider", "resource_id", "stream_id", "upstream_id", "event", "data", "changes", "key", "updated_idx",
    "inserted_at", "upstream_created_at", "upstream_updated_at", "headers",
}  # fmt: skip
RECORD_KEYS = (EVENT_KEYS - {"event", "changes", "key"}) | {"deleted"}


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


# What is delivered


async def test_an_event_is_delivered_with_all_its_fields(api: Api) -> None:
    given = {
        "collection_id": "crm:contacts:eu", "id": "e1", "upstream_id": "u1", "resource_id": "r1", "data": {"a": [1, None]},
        "event": "updated", "changes": {"a": 0}, "key": "k1", "upstream_created_at": "2026-01-31T12:00:00+02:00",
        "upstream_updated_at": "2026-01-31T12:00:00.123456Z", "headers": {"a": "1"},
    }  # fmt: skip
    await api.create_consumer(name="c", stream_id="events")
    published = (await api.publish("events", [given]))["data"][0]
    delivery = (await api.next("c"))["data"][0]
    assert set(delivery) == {"ack_token", "id", "deliver_count", "event"}
    assert delivery["id"] == published["message_id"]
    inserted_at = delivery["event"]["inserted_at"]
    assert TIME.fullmatch(inserted_at)
    assert delivery["event"] == given | {"provider": "crm", "stream_id": "events", "updated_idx": 1, "inserted_at": inserted_at}
    assert (await api.messages("events"))["data"] == [{"id": published["message_id"], "event": delivery["event"]}]


async def test_an_event_has_null_for_what_is_absent(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    published = (await api.publish("events", [{"collection_id": "plain", "data": None}]))["data"][0]
    found = (await api.next("c"))["data"][0]["event"]
    assert set(found) == EVENT_KEYS
    del found["inserted_at"]
    assert found == {
        "id": published["id"], "collection_id": "plain", "provider": "plain", "resource_id": None, "stream_id": "events",
        "upstream_id": None, "event": "created", "data": None, "changes": None, "key": None, "updated_idx": 1,
        "upstream_created_at": None, "upstream_updated_at": None, "headers": None,
    }  # fmt: skip


async def test_a_record_is_delivered_with_all_its_fields(api: Api) -> None:
    given = {
        "collection_id": "crm:contacts", "id": "1", "upstream_id": "u1", "resource_id": "r1", "data": [1], "deleted": False,
        "upstream_created_at": "2026-01-31T12:00:00-05:30", "upstream_updated_at": "2026-01-31t12:00:00z",
        "headers": {"traceparent": "00-1-2-01"},
    }  # fmt: skip
    await api.create_consumer(name="c")
    published = (await api.publish("records", [given]))["data"][0]
    delivery = (await api.next("c"))["data"][0]
    assert set(delivery) == {"ack_token", "id", "deliver_count", "record"}
    assert delivery["id"] == published["message_id"]
    inserted_at = delivery["record"]["inserted_at"]
    assert TIME.fullmatch(inserted_at)
    whole = given | {"provider": "crm", "stream_id": "records", "updated_idx": 1, "inserted_at": inserted_at}
    assert delivery["record"] == whole
    assert await api.record("records", "1") == whole
    assert (await api.messages("records"))["data"] == [{"id": published["message_id"], "record": whole}]


async def test_a_tombstone_has_null_for_what_is_absent(api: Api) -> None:
    await api.publish("records", [{"id": "1", "collection_id": "a:b:c", "deleted": True}])
    found = await api.record("records", "1")
    assert set(found) == RECORD_KEYS
    del found["inserted_at"]
    assert found == {
        "id": "1", "collection_id": "a:b:c", "provider": "a", "resource_id": None, "stream_id": "records", "upstream_id": None,
        "data": None, "deleted": True, "updated_idx": 1, "upstream_created_at": None, "upstream_updated_at": None, "headers": None,
    }  # fmt: skip


async def test_a_tombstone_may_carry_data(api: Api) -> None:
    await api.publish("records", [record("1", {"last": "seen"}, deleted=True)])
    found = await api.record("records", "1")
    assert (found["data"], found["deleted"]) == ({"last": "seen"}, True)


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_sync_id_is_an_alias_of_resource_id(api: Api, stream: str) -> None:
    await api.publish(stream, [event(1, id="1", sync_id="s"), event(2, id="2", sync_id="s", resource_id="s")])
    found = [body(row) for row in (await api.messages(stream))["data"]]
    assert [m["resource_id"] for m in found] == ["s", "s"]
    assert not any("sync_id" in m for m in found)


async def test_the_key_of_an_event_is_its_upstream_id_unless_given(api: Api) -> None:
    await api.publish("events", [event(1, upstream_id="u"), event(2, upstream_id="u", key="k"), event(3, key="k")])
    assert [body(row)["key"] for row in (await api.messages("events"))["data"]] == ["u", "k", "k"]


async def test_a_record_without_an_id_is_known_by_what_it_is_upstream(api: Api) -> None:
    message = {"collection_id": "a:b", "upstream_id": "u", "data": 1}
    first = (await api.publish("records", [message]))["data"][0]
    assert uuid.UUID(first["id"]).version == 5
    again = await api.publish("records", [message | {"data": 2}, message | {"collection_id": "a:c"}, message | {"upstream_id": "v"}])
    assert statuses(again) == ["updated", "created", "created"]
    assert again["data"][0]["id"] == first["id"]
    await api.create_stream(name="s")
    other = (await api.publish("s", [message]))["data"][0]
    assert len({row["id"] for row in (*again["data"], other)}) == 4
    assert (await api.record("records", first["id"]))["upstream_id"] == "u"


# The bytes of data

SPELLINGS = [
    b"1.10", b"1e5", b"1E+5", b"-0", b"-0.0", b"0.1e-7", b"123456789012345678901234567890", b"1.0", b"3.141592653589793238462643383279",
    b"1e400", b"true", b"null", b'""', b"[]", b"{}", b'{"b":1,"a":2,"c":{"z":1,"y":2}}', b'{"a":1,"a":2}', b'"\\u00e9\\u0041\\/\\n"',
    '"é☃𝄞\u2028"'.encode(), b'"\\ud83d\\ude00"', b'"\\u0000"', b'[[[[[1.10,{"k":[1e5]}]]]]]', b'{"":0," ":1,"\\"":2}',
    b'"{\\"data\\":1}"', b'{"data":{"data":1},"ack_token":"x"}', b'["</script>", "]}"]',
]  # fmt: skip


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_data_comes_out_as_the_very_json_that_went_in(http: httpx.AsyncClient, stream: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": stream})
    rows = b",".join(b'{"collection_id":"a:b","id":"%d","data":%b}' % row for row in enumerate(SPELLINGS))
    sent = b'{"messages":[%b]}' % rows
    assert (await http.post(f"/v1/streams/{stream}/messages", content=sent, headers=AS_JSON)).status_code == 200
    peeked = (await http.get("/v1/http-consumers/c/peek?limit=100")).content
    fetched = (await http.get("/v1/http-consumers/c/next?batch_size=100")).content
    listed = (await http.get(f"/v1/streams/{stream}/messages")).content
    for i, raw in enumerate(SPELLINGS):
        wanted = re.compile(rb'"id":"%d",.*?"data":%b[,}]' % (i, re.escape(raw)))
        assert [bool(wanted.search(content)) for content in (peeked, fetched, listed)] == [True] * 3, raw
        if stream == "records":
            assert wanted.search((await http.get(f"/v1/streams/records/records/{i}")).content), raw


async def test_versions_of_callers_that_come_together_are_all_told_apart(api: Api) -> None:
    answers = await asyncio.gather(*(api.publish("records", [{"id": "r", "collection_id": "a:b", "data": n}]) for n in (1, 2, 1)))
    rows = [answer["data"][0] for answer in answers]
    assert sorted(row["status"] for row in rows) == ["created", "updated", "updated"]
    assert len({row["message_id"] for row in rows}) == 3


async def test_data_of_ndjson_and_changes_keep_their_spelling(http: httpx.AsyncClient) -> None:
    lines = b"".join(b'{"collection_id":"a:b","data":%b,"changes":{"was":%b}}\n' % (raw, raw) for raw in SPELLINGS)
    assert (await http.post(EVENTS, content=lines, headers=NDJSON)).status_code == 200
    content = (await http.get(EVENTS)).content
    for raw in SPELLINGS:
        assert b'"changes":{"was":' + raw + b'},"data":' + raw + b"}" in content, raw


async def test_any_data_can_be_read_as_msgpack(http: httpx.AsyncClient) -> None:
    for raw in SPELLINGS:
        await http.post(EVENTS, content=b'{"messages":[{"collection_id":"a:b","data":%b}]}' % raw, headers=AS_JSON)
    reply = await http.get(EVENTS, headers={"Accept": "application/msgpack"})
    assert reply.status_code == 200
    found = data(msgpack.unpackb(reply.content))
    exact = [i for i, raw in enumerate(SPELLINGS) if raw not in (b"123456789012345678901234567890", b"1e400")]
    assert [found[i] for i in exact] == [json.loads(SPELLINGS[i]) for i in exact]


INVALID = [
    b"01", b"1.", b".5", b"-", b"+1", b"1e", b"0x1", b"NaN", b"Infinity", b"-Infinity", b"tru", b"nul", b"True", b"'a'", b'"a', b'"\\x"',
    b'"\\u12g4"', b'"a\nb"', b'"\x01"', b'"\xff"', b"[1,]", b"[1 2]", b'{"a":1,}', b'{"a" 1}', b'{"a":}', b"{1:2}", b"[1", b'{"a":[1}',
    b"", b"[" * 100_000 + b"]" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c13_data_that_is_no_json_is_refused_and_nothing_is_stored(http: httpx.AsyncClient, stream: str) -> None:
    for raw in INVALID:
        sent = b'{"messages":[{"collection_id":"a:b","id":"0","data":0},{"collection_id":"a:b","id":"1","data":%b}]}' % raw
        reply = await http.post(f"/v1/streams/{stream}/messages", content=sent, headers=AS_JSON)
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST"), raw[:20]
    assert (await http.get(f"/v1/streams/{stream}/messages")).json()["data"] == []


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
