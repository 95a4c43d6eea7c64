"""What is wrong with a call, in one shape (C3). HTTP only."""

from typing import Any

import httpx
import msgpack
import pytest

from tests.contract.helpers import MSGPACK, event, one_server, refused

pytestmark = pytest.mark.anyio


async def test_c3_an_unknown_route_is_not_found(http: httpx.AsyncClient) -> None:
    for path in ("/", "/nothing", "/v1", "/v1/", "/v1/nothing", "/v1/streams/events/nothing", "/v1/http-consumers/c/nothing"):
        for method in ("GET", "POST", "DELETE"):
            refused(await http.request(method, path), 404, "NOT_FOUND")


METHODS: list[tuple[str, str, set[str]]] = [
    ("PUT", "/v1/streams", {"GET", "POST"}),
    ("DELETE", "/v1/http-consumers", {"GET", "POST"}),
    ("POST", "/v1/streams/events", {"GET", "PATCH", "DELETE"}),
    ("POST", "/v1/http-consumers/c", {"GET", "PATCH", "PUT", "DELETE"}),
    ("DELETE", "/v1/streams/events/messages", {"GET", "POST"}),
    ("POST", "/v1/streams/records/records/1", {"GET"}),
    ("DELETE", "/v1/http-consumers/c/next", {"GET", "POST"}),
    ("GET", "/v1/http-consumers/c/ack", {"POST"}),
    ("PUT", "/v1/http-consumers/c/nack", {"POST"}),
    ("POST", "/v1/http-consumers/c/pending", {"GET"}),
    ("POST", "/v1/http-consumers/c/peek", {"GET"}),
]


async def test_c3_a_wrong_method_names_the_right_ones(http: httpx.AsyncClient) -> None:
    for method, path, allowed in METHODS:
        reply = await http.request(method, path)
        refused(reply, 405, "METHOD_NOT_ALLOWED")
        assert {name.strip() for name in reply.headers["allow"].split(",")} - {"HEAD", "OPTIONS"} == allowed, path


MISSING = [
    ("/v1/streams/none", "STREAM_NOT_FOUND"),
    ("/v1/streams/none/messages", "STREAM_NOT_FOUND"),
    ("/v1/streams/none/records/1", "STREAM_NOT_FOUND"),
    ("/v1/streams/records/records/none", "RECORD_NOT_FOUND"),
    ("/v1/http-consumers/none", "CONSUMER_NOT_FOUND"),
    ("/v1/http-consumers/none/next", "CONSUMER_NOT_FOUND"),
    ("/v1/http-consumers/none/pending", "CONSUMER_NOT_FOUND"),
    ("/v1/http-consumers/none/peek", "CONSUMER_NOT_FOUND"),
    ("/v1/http-consumers/none/dead-letters", "CONSUMER_NOT_FOUND"),
]


async def test_head_shows_and_takes_nothing(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
    shown = await http.head("/v1/http-consumers/c")
    assert (shown.status_code, shown.content) == (200, b"")
    assert (await http.head("/v1/http-consumers/c/next")).status_code == 405
    assert len((await http.get("/v1/http-consumers/c/next")).json()["data"]) == 1


async def test_c3_what_is_not_there_has_its_own_code(http: httpx.AsyncClient) -> None:
    for path, code in MISSING:
        refused(await http.get(path), 404, code)


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/http-consumers", "/v1/streams/events/messages", "/v1/http-consumers/c/ack"])
async def test_c3_an_unreadable_body_is_an_invalid_request(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for body in (b"", b"{", b"nonsense", b'{"name": "\xff"}', b'{"name"; 1}'):
        refused(await http.post(path, content=body, headers={"Content-Type": "application/json"}), 400, "INVALID_REQUEST")


async def test_c3_what_looks_like_json_and_is_none_is_an_invalid_request(http: httpx.AsyncClient) -> None:
    for metadata in (b"{}} x", b'{"a":NaN}}', b'{"a":' + b"[" * 100_000, b'{"a":"\x01"}}'):
        body = b'{"name":"x","metadata":' + metadata
        refused(await http.post("/v1/streams", content=body, headers={"Content-Type": "application/json"}), 400, "INVALID_REQUEST")
    refused(await http.get("/v1/streams/x"), 404, "STREAM_NOT_FOUND")


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x92\x01", msgpack.packb({"name": b"bytes"}), msgpack.packb({1: "x"})],
    ids=["empty", "no-type", "short", "binary", "number-key"],
)  # fmt: skip
async def test_c3_unreadable_msgpack_is_an_invalid_request(http: httpx.AsyncClient, body: bytes) -> None:
    refused(await http.post("/v1/streams", content=body, headers=MSGPACK), 400, "INVALID_REQUEST")


@one_server
@pytest.mark.parametrize("path", ["/v1/streams", "/v1/http-consumers", "/v1/streams/events/messages", "/v1/http-consumers/c/pending",
                                  "/v1/http-consumers/c/dead-letters", "/v1/http-consumers/c/peek"])  # fmt: skip
async def test_c3_a_bad_query_value_is_an_invalid_request(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for limit in ("0", "1001", "x", "-1", "1.5", "1e2", "\u0663"):
        refused(await http.get(path, params={"limit": limit}), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("path", ["/v1/streams/events/messages", "/v1/http-consumers/c/pending", "/v1/http-consumers/c/dead-letters"])
async def test_c3_a_cursor_that_no_list_gave_is_an_invalid_request(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for after in ("x", "1", "1-", "-1", "1-x", "99999999999999999999-0", "1-1-1"):
        refused(await http.get(path, params={"after": after}), 400, "INVALID_REQUEST")


async def test_c3_validation_names_the_path_of_the_field(http: httpx.AsyncClient) -> None:
    messages: list[dict[str, Any]] = [event(0), event(1), {"collection_id": "a:b", "data": 1, "event": 7}]
    errors = refused(await http.post("/v1/streams/events/messages", json={"messages": messages}), 422, "VALIDATION_FAILED")
    assert list(errors) == ["messages[2].event"]
    body = {"name": "c", "filters": {"provider": ["a", 1]}}
    errors = refused(await http.post("/v1/http-consumers", json=body), 422, "VALIDATION_FAILED")
    assert list(errors) == ["filters.provider[1]"]


@pytest.mark.parametrize("body", ["[]", "1", "null", '"x"'])
async def test_c3_a_body_of_another_json_type_is_refused(http: httpx.AsyncClient, body: str) -> None:
    reply = await http.post("/v1/streams", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422)
    refused(reply, reply.status_code, "INVALID_REQUEST" if reply.status_code == 400 else "VALIDATION_FAILED")


async def test_c3_an_error_leaks_no_keys(http: httpx.AsyncClient) -> None:
    paths = ("/v1/streams/none", "/v1/http-consumers/none/next", "/v1/streams/events/messages?after=x", "/v1/nothing")
    for path in paths:
        text = (await http.get(path)).text.lower()
        assert not any(word in text for word in ("broker:", "traceback", "wrongtype", "nogroup", "redis", ".lua", ".py"))
