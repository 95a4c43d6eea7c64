"""Headers of messages: C62."""

import re
from typing import Any

import httpx
import msgpack
import msgspec
import pytest

from broker import Store
from http_api.settings import Settings
from tests.contract.helpers import body, event, one_server, plain_add, record, refused, tokens
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

HEADERS: Json = {"traceparent": "00-4bf9-01", "Content-Type": "application/json; charset=utf-8", "x_1.y": 'ü "quoted" \n', "empty": ""}
NULL = event(4, id="e", headers=None)


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c62_headers_are_delivered_as_given(api: Api, stream: str) -> None:
    await api.create_consumer(name="c", stream_id=stream, max_deliver=1)
    await api.publish(stream, [event(1, id="a", headers=HEADERS), event(2, id="b"), event(3, id="d", headers={}), NULL])
    expected = [HEADERS, None, {}, None]
    for rows in ((await api.messages(stream))["data"], await api.peek("c"), (batch := await api.next("c", 9))["data"]):
        assert [body(row)["headers"] for row in rows] == expected
    await api.nack("c", tokens(batch))
    assert [body(row)["headers"] for row in (await api.dead_letters("c"))["data"]] == expected
    if stream == "records":
        assert (await api.record("records", "a"))["headers"] == HEADERS


async def test_c62_headers_are_no_part_of_a_records_content(api: Api) -> None:
    await api.publish("records", [record("a", 1, headers={"n": "1"})])
    again = await api.publish("records", [record("a", 1, headers={"n": "2"})])
    assert again["info"] == {"unchanged": 1}
    assert (await api.record("records", "a"))["headers"] == {"n": "1"}
    await api.publish("records", [record("a", 2, headers={"n": "3"})])
    assert (await api.record("records", "a"))["headers"] == {"n": "3"}


async def test_c62_a_delayed_event_keeps_its_headers(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await api.publish("events", [event(1, headers=HEADERS, key="k", changes={"a": 1}, deliver_at="2020-01-01T00:00:00Z")])
    assert body((await api.next("c"))["data"][0])["headers"] == HEADERS


@one_server
@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({f"h{i}": "" for i in range(33)}, "headers"), ({"a b": "1"}, "headers"), ({"": "1"}, "headers"), ({"x" * 129: "1"}, "headers"),
        ({"a\n": "1"}, "headers"), ({"ä": "1"}, "headers"), ({"a": 1}, "headers"), ({"a": None}, "headers"), ({"a": ["1"]}, "headers"),
        ([], "headers"), ("a", "headers"), ({"a": "x" * 16_384}, "headers"), ({"a": "ü" * 8_192}, "headers"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c62_what_headers_may_not_be(api: Api, stream: str, headers: Any, path: str) -> None:
    with pytest.raises(Refused) as refusal:
        await api.publish(stream, [event(0, id="a"), event(1, id="b", headers=headers)])
    assert (refusal.value.status, refusal.value.code) == (422, "VALIDATION_FAILED")
    assert all(name.startswith(f"messages[1].{path}") for name in refusal.value.errors), refusal.value.errors
    assert (await api.messages(stream))["data"] == []


async def test_c62_headers_at_their_limits(api: Api) -> None:
    many = {f"{i:02}" + "n" * 126: "v" for i in range(32)}
    await api.publish("events", [event(1, headers=many), event(2, headers={"a": "x" * 16_383})])
    assert [len(body(row)["headers"]) for row in (await api.messages("events"))["data"]] == [32, 1]


async def test_c62_headers_over_ndjson_and_messagepack(http: httpx.AsyncClient) -> None:
    path = "/v1/streams/events/messages"
    line = b'{"collection_id":"a:b","data":1,"headers":{"a":"1"}}\n'
    assert (await http.post(path, content=line, headers={"content-type": "application/x-ndjson"})).status_code == 200
    packed = msgpack.packb({"messages": [event(2, headers={"a": "2"})]})
    assert (await http.post(path, content=packed, headers={"content-type": "application/msgpack"})).status_code == 200
    rows = (await http.get(path)).json()["data"]
    assert [row["event"]["headers"] for row in rows] == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("field", "expected"), [('{"a":"1"}', {"a": "1"}), ("{}", {}), ("plain", {"headers": "plain"}), ('{"a":1}', {"headers": '{"a":1}'})]
)
async def test_c62_a_plain_client_may_add_headers(api: Api, store: Store, field: str, expected: Json) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await plain_add(store, "collection_id", "a:b", "headers", field, "order", "7")
    found = body((await api.next("c"))["data"][0])
    assert (found["headers"], found["data"]) == (expected, {"order": "7"})


CALLER = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1,other=2"}
LINES, PACKED = "application/x-ndjson", "application/msgpack"


async def publish_as(
    http: httpx.AsyncClient, kind: str, stream: str, messages: list[Json], headers: Any = CALLER
) -> Json:  # fmt: skip
    """Publish by a call that names a caller, as JSON, lines or MessagePack."""
    encode = msgpack.packb if kind == PACKED else msgspec.json.encode
    content = b"".join(map(as_line, messages)) if kind == LINES else encode({"messages": messages})
    named = [*(headers.items() if isinstance(headers, dict) else headers), ("content-type", kind)]
    reply = await http.post(f"/v1/streams/{stream}/messages", content=content, headers=named)
    assert reply.status_code == 200, reply.text
    answer: Json = reply.json()
    return answer


def as_line(message: Json) -> bytes:
    return msgspec.json.encode(message) + b"\n"


async def stored(http: httpx.AsyncClient, stream: str) -> list[Any]:
    return [body(row)["headers"] for row in (await http.get(f"/v1/streams/{stream}/messages")).json()["data"]]


@pytest.mark.parametrize("stream", ["events", "records"])
@pytest.mark.parametrize("kind", ["application/json", LINES, PACKED])
async def test_c62_a_message_gets_the_trace_of_its_call(http: httpx.AsyncClient, kind: str, stream: str) -> None:
    own: Json = {"Traceparent": "00-1-2-3", "a": "1"}
    given: list[Json | None] = [None, {}, {"a": "1"}, own, {"tracestate": "x"}]
    await publish_as(http, kind, stream, [event(i, id=f"id{i}", headers=headers) for i, headers in enumerate(given)])
    assert await stored(http, stream) == [CALLER, CALLER, {"a": "1"} | CALLER, own, {"tracestate": "x"}]


async def test_c62_a_delayed_event_keeps_the_trace_of_its_call(http: httpx.AsyncClient, api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await publish_as(http, "application/json", "events", [event(1, deliver_at="2020-01-01T00:00:00Z")])
    assert body((await api.next("c"))["data"][0])["headers"] == CALLER


@pytest.mark.parametrize("kind", ["application/json", LINES])
async def test_c62_the_same_from_another_call_is_no_other_version(http: httpx.AsyncClient, kind: str) -> None:
    later = {"traceparent": "00-11111111111111111111111111111111-2222222222222222-01"}
    for stream, same in (("records", "unchanged"), ("events", "duplicate")):
        messages = [event(1, id="a"), event(2, id="b", headers={"n": "1"})]
        first = await publish_as(http, kind, stream, messages)
        again = await publish_as(http, kind, stream, messages, later)
        unnamed = await publish_as(http, kind, stream, messages, {})
        assert first["info"] == {"created": 2}
        assert again["info"] == unnamed["info"] == {same: 2}
        assert [row["message_id"] for row in again["data"]] == [row["message_id"] for row in first["data"]]
        assert await stored(http, stream) == [CALLER, {"n": "1"} | CALLER]


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"tracestate": "a=1"}, {"traceparent": ""}, {"traceparent": "nonsense"},
        {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, {"traceparent": f"00-{'a' * 32}-{'0' * 16}-01"},
        {"traceparent": f"ff-{'a' * 32}-{'b' * 16}-01"}, {"traceparent": f"00-{'A' * 32}-{'b' * 16}-01"},
        {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01-more"}, [("traceparent", CALLER["traceparent"])] * 2,
    ],
)  # fmt: skip
async def test_c62_a_malformed_caller_is_ignored(http: httpx.AsyncClient, headers: Any) -> None:
    await publish_as(http, "application/json", "events", [event(1), event(2, headers={"a": "1"})], headers)
    assert await stored(http, "events") == [None, {"a": "1"}]


async def test_c62_what_is_wrong_with_a_tracestate_does_not_spoil_the_traceparent(http: httpx.AsyncClient) -> None:
    parent = {"traceparent": CALLER["traceparent"]}
    for state in ("", "x" * 513, "ü=1"):
        named = [(b"traceparent", parent["traceparent"].encode()), (b"tracestate", state.encode("latin-1"))]
        await publish_as(http, "application/json", "events", [event(1)], named)
    twice = [*parent.items(), ("tracestate", "a=1"), ("tracestate", "b=2")]
    await publish_as(http, "application/json", "events", [event(1)], twice)
    assert await stored(http, "events") == [parent, parent, parent, parent | {"tracestate": "a=1,b=2"}]


async def test_c62_a_trace_takes_no_room_that_a_message_needs(http: httpx.AsyncClient) -> None:
    full = {f"h{i}": "" for i in range(32)}
    large = {"a": "x" * 16_300}
    await publish_as(http, "application/json", "events", [event(1, headers=full), event(2, headers=large)])
    assert await stored(http, "events") == [full, large]
    limit = Settings().max_message_bytes
    too_large = {"messages": [record("a", "x" * limit)]}
    refused = await http.post("/v1/streams/records/messages", json=too_large, headers=CALLER)
    found = re.search(r"is (\d+) bytes", refused.json()["summary"])
    assert refused.status_code == 413 and found is not None
    longest = 2 * limit - int(found[1])
    for kind in ("application/json", LINES):
        for spare, expected in ((0, None), (1000, CALLER)):
            await publish_as(http, kind, "records", [record("a", "x" * (longest - spare))])
            assert await stored(http, "records") == [expected], (kind, spare)


async def test_c3_a_header_that_is_no_string_is_named(http: httpx.AsyncClient) -> None:
    messages = [event(1), event(2, headers={"ok": "x", "bad": 5})]
    reply = await http.post("/v1/streams/events/messages", json={"messages": messages})
    assert refused(reply, 422, "VALIDATION_FAILED") == {"messages[1].headers.bad": ["must be a string, not an integer"]}
    lines = b"\n".join(map(msgspec.json.encode, messages))
    reply = await http.post("/v1/streams/events/messages", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert refused(reply, 422, "VALIDATION_FAILED") == {"line[2].headers.bad": ["must be a string, not an integer"]}


@pytest.mark.parametrize("body", [
    '{"messages":[{"collection_id":"a","data":1,"headers":{"n":12345678901234567890123456789}}]}',
    '{"messages":[{"collection_id":"a","data":1,"headers":{"a":1}}],"messages":[]}',
])  # fmt: skip
async def test_c3_a_header_that_cannot_be_named_is_422_too(http: httpx.AsyncClient, body: str) -> None:
    reply = await http.post("/v1/streams/events/messages", content=body, headers={"Content-Type": "application/json"})
    assert list(refused(reply, 422, "VALIDATION_FAILED")) in (["messages[0].headers"], ["messages[0].headers.n"])
