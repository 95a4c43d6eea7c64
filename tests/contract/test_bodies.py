"""C1, C4 and what else a client may send that is not what was meant. HTTP only."""

import json
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import msgpack
import pytest

from broker.messages.incoming import decode_batch, outgoing
from http_api.routes import OPERATIONS, Operation
from tests.contract.helpers import event, one_server, refused

pytestmark = pytest.mark.anyio

PACKED = {"Content-Type": "application/msgpack"}
EVENTS = "/v1/streams/events/messages"


async def test_c1_a_body_without_a_content_type_is_refused_with_those_that_are_taken(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"name":"x"}'

    for path in ("/v1/streams", "/v1/streams/events/messages", "/v1/http-consumers", "/v1/http-consumers/c/next"):
        for content in (b'{"name":"x"}', pieces()):
            reply = await http.post(path, content=content)
            refused(reply, 415, "UNSUPPORTED_MEDIA_TYPE")
            for kind in ("application/json", "application/msgpack", "application/x-ndjson"):
                assert kind in reply.json()["summary"]


async def test_c1_no_body_needs_no_content_type(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for call in ("next", "pause", "resume"):
        assert (await http.post(f"/v1/http-consumers/c/{call}")).status_code == 200
        assert (await http.post(f"/v1/http-consumers/c/{call}", content=b"")).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, identity", "x"])
async def test_c1_an_encoded_body_is_refused(http: httpx.AsyncClient, encoding: str) -> None:
    for kind in ("application/json", "application/msgpack", "application/x-ndjson"):
        headers = {"Content-Type": kind, "Content-Encoding": encoding}
        reply = await http.post("/v1/streams/events/messages", content=b"{}", headers=headers)
        refused(reply, 415, "UNSUPPORTED_MEDIA_TYPE")


async def test_c1_identity_is_no_encoding(http: httpx.AsyncClient) -> None:
    reply = await http.post("/v1/streams", json={"name": "x"}, headers={"Content-Encoding": "Identity"})
    assert reply.status_code == 201


async def test_c1_ndjson_has_two_names(http: httpx.AsyncClient) -> None:
    line = b'{"collection_id":"a:b","data":1}'
    for kind in ("application/x-ndjson", "application/ndjson", "Application/NDJSON; charset=utf-8"):
        reply = await http.post("/v1/streams/events/messages", content=line, headers={"Content-Type": kind})
        assert reply.json()["info"] == {"created": 1}


@one_server
@pytest.mark.parametrize("operation", [o for o in OPERATIONS if not o.name.startswith("next")], ids=lambda o: o.name)
async def test_c4_an_unknown_query_parameter_is_named_by_every_other_call_and_nothing_is_done(
    http: httpx.AsyncClient, operation: Operation
) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    path = operation.path.replace("{stream}", "events").replace("{consumer}", "c").replace("{id:path}", "x")
    known = "".join(f"{query.name}=1&" for query in operation.query)
    reply = await http.request(operation.method, f"{path}?{known}colour=red&limit2=", json={} if operation.body else None)
    refused(reply, 400, "INVALID_REQUEST")
    assert "colour, limit2" in reply.json()["summary"]
    assert all(query.name in reply.json()["summary"] for query in operation.query)
    assert (await http.get("/v1/http-consumers/c")).status_code == (await http.get("/v1/streams/events")).status_code == 200


FILTERS = {
    "/streams/events/messages": ["collection_id", "id", "upstream_id", "resource_id", "key", "contains", "from", "to"],
    "/http-consumers": ["stream_id", "metadata"],
    "/http-consumers/c/dead-letters": ["collection_id", "reason"],
}


@one_server
@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in FILTERS.items() for name in names])
async def test_c4_a_filter_that_is_empty_does_not_answer_with_everything(http: httpx.AsyncClient, path: str, name: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    reply = await http.get(f"/v1{path}", params={name: ""})
    refused(reply, 400, "INVALID_REQUEST")
    assert reply.json()["summary"] == f"{name} must not be empty; leave it out to select everything."


# C17


@pytest.mark.parametrize("name", ["abc", "abc\n", "\nabc", "a\nb", "a/b\n", "a//b", "abc ", "\u2028", "ä%", "?#"])
async def test_c17_a_record_is_found_by_its_very_id(http: httpx.AsyncClient, name: str) -> None:
    await http.post("/v1/streams/records/messages", json={"messages": [event(1, id="abc")]})
    path = "/v1/streams/records/records/" + "".join(f"%{byte:02X}" for byte in name.encode())
    if name != "abc":
        refused(await http.get(path), 404, "RECORD_NOT_FOUND")
        await http.post("/v1/streams/records/messages", json={"messages": [event(2, id=name)]})
    assert (await http.get(path)).json()["id"] == name


@pytest.mark.parametrize("end", ["%0A", "%0D%0A", "%00"])
async def test_c3_an_address_with_a_line_end_is_another_one(http: httpx.AsyncClient, end: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for path in (
        "/v1/streams",
        "/v1/streams/events",
        "/v1/http-consumers/c",
        "/v1/http-consumers/c/next",
        "/health/live",
    ):
        assert (await http.get(path)).status_code == 200
        assert (await http.get(path + end)).status_code == 404


# Publishing


def test_c15_records_of_other_upstream_objects_have_other_ids() -> None:
    pairs = [
        ("a", "b\0c"),
        ("a\0b", "c"),
        ("a\0b\0c", "d"),
        ("a", "b\0c\0d"),
        ("1\0a", "b"),
        ("1", "a\0b"),
        ("3\0a\0b", "c"),
    ]
    messages = [{"collection_id": one, "upstream_id": other, "data": 1} for one, other in pairs]
    batch = decode_batch("records", json.dumps({"messages": messages}).encode())
    assert len({outgoing("s", message, "", 1 << 20).id for message in batch}) == len(pairs)


def test_c15_the_id_of_an_upstream_object_stays_what_it_was() -> None:
    [message] = decode_batch("records", b'{"messages":[{"collection_id":"stripe:customers","upstream_id":"cus_1","data":1}]}')
    assert outgoing("records", message, "", 1 << 20).id == "92f616fa-3a21-5bac-8d1b-2c956bdc347e"


HALVES = ["\\ud800", "\\uDFFF", "x\\ud83d", "\\ud83d\\ud83d\\ude00", "\\\\\\ude00y"]


@pytest.mark.parametrize("half", HALVES)
async def test_c13_half_a_surrogate_pair_is_refused_by_message_and_field(http: httpx.AsyncClient, half: str) -> None:
    whole = '{"collection_id":"a:b","data":"\\ud83d\\ude00 \\\\ud800"}'
    for field, text in (
        ("data", f'"data":{{"a":["{half}"]}}'), ("data", f'"data":{{"{half}":1}}'), ("key", f'"key":"{half}","data":1'),
        ("changes.x", f'"changes":{{"x":"{half}"}},"data":1'),
    ):  # fmt: skip
        bad = f'{{"collection_id":"a:b",{text}}}'
        body = f'{{"messages":[{whole},{bad}]}}'
        reply = await http.post(EVENTS, content=body, headers={"Content-Type": "application/json"})
        assert list(refused(reply, 422, "VALIDATION_FAILED")) == [f"messages[1].{field}"]
    lines = f"{whole}\n{bad}\n"
    reply = await http.post(EVENTS, content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert list(refused(reply, 422, "VALIDATION_FAILED")) == ["line[2].changes.x"]
    assert (await http.get("/v1/streams/events")).json()["info"]["messages"] == 1


# What is sent is not sent back whole


@pytest.mark.parametrize("path", ["/v1/streams", EVENTS, "/v1/http-consumers/c/next", "/v1/http-consumers/c/ack"])
async def test_c3_a_field_of_a_megabyte_is_not_echoed(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for body in (
        {"x" * (1 << 20): 1},
        {"messages": [{"y" * (1 << 20): 1} | event(1)]},
        {"name": "z" * (1 << 20), "kind": "k" * (1 << 20)},
    ):
        reply = await http.post(path, json=body)
        assert reply.status_code in (400, 422)
        assert len(reply.content) < 4000


# MessagePack


@one_server
async def test_c1_a_megabyte_of_empty_lists_takes_little_memory_in(http: httpx.AsyncClient) -> None:
    many = 400_000
    body = msgpack.packb({"messages": [event(None)]})[:-1] + b"\xdd" + many.to_bytes(4) + b"\x90" * many
    tracemalloc.start()
    try:
        reply = await http.post(EVENTS, content=body, headers=PACKED)
        refused(reply, 413, "PAYLOAD_TOO_LARGE")
        assert tracemalloc.get_traced_memory()[1] < 12 << 20  # as a Python object it takes 25 MiB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1000, 300_000, 700_000])
async def test_c1_large_values_are_the_same_as_small_ones(http: httpx.AsyncClient, size: int) -> None:
    values = [{"a": [1, {"b": ["x" * (size // 10)] * 10, "": {}}, [], "ä", None, True, -1.5]}, ["y"] * (size // 8), 7]
    body = msgpack.packb({"messages": [event(value) for value in values]})
    assert (await http.post(EVENTS, content=body, headers=PACKED)).json()["info"] == {"created": 3}
    for accept in ("application/json", "application/msgpack"):
        reply = await http.get(EVENTS, headers={"Accept": accept})
        shown = reply.json() if accept == "application/json" else msgpack.unpackb(reply.content)
        assert [row["event"]["data"] for row in shown["data"]] == values
        assert shown["next"] is None
