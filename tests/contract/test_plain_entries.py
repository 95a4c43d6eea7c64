"""What a plain Redis client adds by XADD, as it is delivered (C55)."""

from typing import Any

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.helpers import body, counts, data, event, plain_add, plain_read, publish_each, take, tokens
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio

B64: Json = {"base64": "//4A"}
BYTES = b"\xff\xfe\x00"
AS_DATA: dict[str, tuple[list[str | bytes], Json]] = {
    "one field": (["message", '{"order":7}'], {"message": '{"order":7}'}),
    "in their order": (["z", "1", "a", "true", "m", "null"], {"z": "1", "a": "true", "m": "null"}),
    "without the named ones": (
        ["collection_id", "a:b", "id", "i", "resource_id", "r", "upstream_id", "u", "event", "e", "key", "k", "headers", "{}", "x", "1"],
        {"x": "1"},
    ),
    "named ones alone": (["collection_id", "a:b"], {}),
    "a name twice": (["x", "1", "y", "2", "x", "3"], {"x": ["1", "3"], "y": "2"}),
    "empty": (["", "no name", "no value", ""], {"": "no name", "no value": ""}),
    "a zero byte": (["a\0b", "c\0d"], {"a\0b": "c\0d"}),
    "no UTF-8": (["x", BYTES, "y", "é\u2028😀"], {"x": B64, "y": "é\u2028😀"}),
    "a surrogate": (["x", b"\xed\xa0\x80"], {"x": {"base64": "7aCA"}}),
    "a name that is no UTF-8": ([b"\xff", "1", b"\xfe", "2", "\\xff", "3"], {"\\xff": ["1", "3"], "\\xfe": "2"}),
    "as JSON quotes": (['"\\/\x7f\n', '"\\/\x7f\n'], {'"\\/\x7f\n': '"\\/\x7f\n'}),
    "names of the store": (["head", "7 k", "body", "{}", "number", "1"], {"head": "7 k", "body": "{}", "number": "1"}),
    "as large as a message": (["x", "y" * (1 << 20)], {"x": "y" * (1 << 20)}),
    "many": ([text for n in range(2000) for text in (str(n), "v")], {str(n): "v" for n in range(2000)}),
}


@pytest.mark.parametrize("case", AS_DATA)
async def test_c55_an_entry_without_data_is_delivered_with_the_object_of_its_fields(api: Api, store: Store, case: str) -> None:
    fields, expected = AS_DATA[case]
    await api.create_consumer(name="c", stream_id="events", max_deliver=1)
    await plain_add(store, *fields)
    for rows in ((await api.messages("events"))["data"], await api.peek("c")):
        assert [list(m["data"].items()) for m in map(body, rows)] == [list(expected.items())]
    batch = await api.next("c")
    assert (data(batch), list(data(batch)[0])) == ([expected], list(expected))
    await api.nack("c", tokens(batch))
    letters = (await api.dead_letters("c"))["data"]
    assert [list(m["data"].items()) for m in map(body, letters)] == [list(expected.items())]


async def test_c55_it_is_the_same_after_a_redrive_and_in_messagepack(api: Api, http: httpx.AsyncClient, store: Store) -> None:
    await api.create_consumer(name="c", stream_id="events", max_deliver=1)
    await plain_add(store, "b", BYTES, "a", "\0")
    first = await api.next("c")
    await api.nack("c", tokens(first))
    assert (await http.post("/v1/http-consumers/c/dead-letters/redrive", json={})).json() == {"redriven": 1, "gone": 0}
    again = await api.next("c")
    assert body(again["data"][0]) == body(first["data"][0])
    packed = await http.get("/v1/streams/events/messages", headers={"accept": "application/msgpack"})
    assert b"\xa4data\x82\xa1b\x81\xa6base64\xa4//4A\xa1a\xa1\0" in packed.content


DATA: dict[str, tuple[bytes, Any]] = {
    "not JSON": (b"not json", "not json"), "empty": (b"", ""), "not a number": (b"NaN", "NaN"), "cut off": (b"{", "{"),
    "a zero byte": (b"\x00", "\x00"), "too deep": (b"[" * 100_000, "[" * 100_000), "a bad number": (b"01", "01"),
    "a bad escape": (b'"\\x"', '"\\x"'), "half a surrogate pair": (b'"\\ud800"', '"\\ud800"'),
    "a byte order mark": (b"\xef\xbb\xbf1", "\ufeff1"),
    "two values": (b"1 2", "1 2"), "no UTF-8": (BYTES, B64), "no UTF-8 in a string": (b'"\xff"', {"base64": "Iv8i"}),
    "deep": (b"[" * 100 + b"]" * 100, None),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
async def test_c55_odd_data_blocks_nobody(api: Api, store: Store, case: str) -> None:
    text, expected = DATA[case]
    await api.create_consumer(name="c", stream_id="events")
    await plain_add(store, "collection_id", "crm:x", "data", text, "x", "beside data")
    await publish_each(api, ["after"])
    found, after = await take(api, "c")
    assert after == "after"
    if expected is not None:
        assert found == expected


async def test_c55_data_that_comes_twice_is_the_last_one(api: Api, store: Store) -> None:
    await plain_add(store, "data", "1", "key", "a", "data", "2", "key", "b")
    [found] = (await api.messages("events"))["data"]
    assert (body(found)["data"], body(found)["key"]) == (2, "b")


@pytest.mark.parametrize("field", ["collection_id", "id", "resource_id", "upstream_id", "event", "key", "headers"])
async def test_c55_a_named_field_may_be_any_bytes(api: Api, store: Store, field: str) -> None:
    await api.create_consumer(name="c", stream_id="events", ordering="key")
    await api.create_consumer(name="filtered", stream_id="events", filters={"collection_id": "crm:*", "resource_id": "*"})
    await plain_add(store, field, BYTES, "data", "1")
    await plain_add(store, field, b"\xfe", "data", "2")
    await api.publish("events", [event(3)])
    assert data(await api.next("filtered", 9)) == [3]
    first, second, _ = (await api.next("c", 9))["data"]
    if field != "headers":
        assert (body(first)[field], body(second)[field]) == ("\\xff\\xfe\0", "\\xfe")


async def test_a_plain_entry_in_a_record_stream_is_no_record(api: Api, store: Store) -> None:
    await api.publish("records", [event(1, id="one")])
    await plain_add(store, "message", "hello", stream="records")
    await api.publish("records", [event(2, id="two")])
    assert data(await api.messages("records")) == [1, 2]


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
@pytest.mark.parametrize("batch_size", [1, 9])
async def test_a_plain_entry_in_a_record_stream_hides_no_record(
    api: Api, store: Store, clock: Clock, filters: Json, batch_size: int
) -> None:
    await api.create_consumer(name="c", stream_id="records", filters=filters)
    await api.publish("records", [event(1, id="one")])
    await plain_add(store, "message", "hello", stream="records")
    await plain_add(store, "message", "again", stream="records")
    await api.publish("records", [event(n, id=str(n)) for n in (2, 3, 4)])
    assert await counts(api, "c") == (4, 0, 0, 0)
    batches = [await api.next("c", batch_size) for _ in range(6)]
    assert [value for batch in batches for value in data(batch)] == [1, 2, 3, 4]
    assert await counts(api, "c") == (0, 4, 0, 0)
    await api.publish("records", [event(5, id="5")])
    assert data(await api.next("c", 9)) == [5]
    await clock.advance(30_000)
    assert data(await api.next("c", 9)) == [1, 2, 3, 4, 5]
    assert (await api.get_stream("records"))["info"]["messages"] == 5


async def test_a_plain_entry_in_a_record_stream_that_a_plain_client_took_goes_to_nobody_else(api: Api, store: Store, clock: Clock) -> None:
    await api.create_consumer(name="c", stream_id="records", max_deliver=2)
    await plain_add(store, "message", "hello", stream="records")
    await api.publish("records", [event(1, id="one")])
    await plain_read(store, "c", 2, stream="records")
    await clock.advance(30_000)
    batch = await api.next("c", 9)
    assert data(batch) == [1]
    assert await counts(api, "c") == (0, 1, 0, 1)
    assert await api.ack("c", tokens(batch)) == {"acked": 1, "stale": []}
    assert await counts(api, "c") == (0, 0, 0, 0)
