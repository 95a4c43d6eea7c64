"""Headers of messages: C62."""

from typing import Any

import httpx
import msgpack
import pytest

from broker import Store
from tests.contract.helpers import body, event, plain_add, record, tokens
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
