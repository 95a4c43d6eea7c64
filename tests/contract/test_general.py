"""Section 2: what holds for every call. HTTP only."""

import json
from typing import Any

import httpx
import msgpack
import pytest

from tests.contract.helpers import data, event, one_server, refused

pytestmark = pytest.mark.anyio

MSGPACK = {"Content-Type": "application/msgpack"}
AS_MSGPACK = {"Accept": "application/msgpack"}
NDJSON = {"Content-Type": "application/x-ndjson"}


async def no_messages(http: httpx.AsyncClient, stream: str = "events") -> bool:
    return bool((await http.get(f"/v1/streams/{stream}/messages")).json() == {"data": [], "next": None, "scanned": 0})


# C1


async def test_c1_an_answer_is_json_in_utf8(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams/events/messages", json={"messages": [event("snö ☃ 𝄞")]})
    reply = await http.get("/v1/streams/events/messages")
    assert reply.headers["content-type"].partition(";")[0] == "application/json"
    assert data(json.loads(reply.content.decode("utf-8"))) == ["snö ☃ 𝄞"]


async def test_c1_a_body_may_be_msgpack(http: httpx.AsyncClient) -> None:
    value = {"n": [1, -2, 1.5, None, True, "snö"], "o": {}}
    packed = msgpack.packb({"messages": [event(value)]})
    reply = await http.post("/v1/streams/events/messages", content=packed, headers=MSGPACK)
    assert (reply.status_code, reply.json()["info"]) == (200, {"created": 1})
    assert data((await http.get("/v1/streams/events/messages")).json()) == [value]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/streams", {"name": "s", "kind": "events", "max_messages": 5}),
        ("POST", "/v1/http-consumers", {"name": "c", "filters": {"provider": ["a"]}, "backoff_ms": [1, 2]}),
        ("POST", "/v1/streams/records/messages", {"messages": [{"id": "1", "collection_id": "a:b", "data": {"x": [1]}}]}),
    ],
)
async def test_c1_any_body_may_be_msgpack(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]) -> None:
    reply = await http.request(method, path, content=msgpack.packb(body), headers=MSGPACK)
    assert reply.status_code in (200, 201)
    assert reply.headers["content-type"].startswith("application/json")


async def test_c1_next_and_ack_work_in_msgpack_alone(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event({"a": 1.5})]})
    fetched = await http.post("/v1/http-consumers/c/next", content=msgpack.packb({"batch_size": 5}), headers=MSGPACK | AS_MSGPACK)
    assert fetched.headers["content-type"] == "application/msgpack"
    batch = msgpack.unpackb(fetched.content)
    assert (data(batch), batch["info"]) == ([{"a": 1.5}], {"num_pending": 0, "num_ack_pending": 1})
    settled = await http.post(
        "/v1/http-consumers/c/ack",
        content=msgpack.packb({"ack_tokens": [batch["data"][0]["ack_token"]]}),
        headers=MSGPACK | AS_MSGPACK,
    )
    assert msgpack.unpackb(settled.content) == {"acked": 1, "stale": []}


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/events", "/v1/http-consumers", "/v1/streams/events/messages"])
async def test_c1_msgpack_and_json_answers_have_the_same_shape(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/streams/events/messages", json={"messages": [event([1, 2.5, None, {"k": "v"}])]})
    await http.post("/v1/http-consumers", json={"name": "c", "metadata": {"a": [1]}})
    packed = await http.get(path, headers=AS_MSGPACK)
    assert packed.headers["content-type"] == "application/msgpack"
    assert msgpack.unpackb(packed.content) == (await http.get(path)).json()


async def test_c1_an_error_comes_as_msgpack_too(http: httpx.AsyncClient) -> None:
    reply = await http.get("/v1/streams/none", headers=AS_MSGPACK)
    problem = msgpack.unpackb(reply.content)
    assert (reply.status_code, problem["code"], set(problem)) == (404, "STREAM_NOT_FOUND", {"code", "summary"})


async def test_c1_publishing_takes_ndjson(http: httpx.AsyncClient) -> None:
    lines = b"\n".join(json.dumps(event(i)).encode() for i in range(3))
    reply = await http.post("/v1/streams/events/messages", content=lines, headers=NDJSON)
    assert (reply.status_code, reply.json()["info"]) == (200, {"created": 3})


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/http-consumers", "/v1/http-consumers/c/ack", "/v1/http-consumers/c/nack"])
async def test_c1_only_publishing_takes_ndjson(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    refused(await http.post(path, content=b'{"name":"x"}\n', headers=NDJSON), 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/http-consumers", "/v1/streams/events/messages", "/v1/http-consumers/c/ack"])
async def test_c1_another_content_type_is_refused(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        refused(await http.post(path, content=b'{"name":"x"}', headers={"Content-Type": kind}), 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"])
async def test_c1_a_content_type_may_have_parameters_and_any_case(http: httpx.AsyncClient, kind: str) -> None:
    reply = await http.post("/v1/streams", content=b'{"name":"x"}', headers={"Content-Type": kind})
    assert reply.status_code == 201


async def test_c1_there_is_nothing_outside_the_prefix(http: httpx.AsyncClient) -> None:
    refused(await http.get("/streams"), 404, "NOT_FOUND")


# C3


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


# C4


@one_server
@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/streams", {"name": "x", "colour": 1}, "colour"),
        ("PATCH", "/v1/streams/events", {"colour": 1}, "colour"),
        ("POST", "/v1/http-consumers", {"name": "x", "colour": 1}, "colour"),
        ("POST", "/v1/http-consumers", {"name": "x", "filters": {"colour": "a"}}, "filters.colour"),
        ("PATCH", "/v1/http-consumers/c", {"colour": 1}, "colour"),
        ("PUT", "/v1/http-consumers/c", {"colour": 1}, "colour"),
        ("POST", "/v1/streams/events/messages", {"messages": [event(1)], "colour": 1}, "colour"),
        ("POST", "/v1/streams/events/messages", {"messages": [event(1), event(2, colour=1)]}, "messages[1].colour"),
        ("POST", "/v1/streams/events/messages", {"messages": [event(1, deleted=True)]}, "messages[0].deleted"),
        ("POST", "/v1/streams/records/messages", {"messages": [event(1, id="1", event="created")]}, "messages[0].event"),
        ("POST", "/v1/streams/records/messages", {"messages": [event(1, id="1", changes={})]}, "messages[0].changes"),
        ("POST", "/v1/streams/records/messages", {"messages": [event(1, id="1", key="k")]}, "messages[0].key"),
    ],
)
async def test_c4_an_unknown_field_is_named(http: httpx.AsyncClient, method: str, path: str, body: dict[str, Any], field: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    assert list(refused(await http.request(method, path, json=body), 422, "VALIDATION_FAILED")) == [field]
    assert await no_messages(http)
    assert await no_messages(http, "records")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_c4_an_unknown_query_parameter_is_ignored_by_next(http: httpx.AsyncClient, method: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    path = "/v1/http-consumers/c/next"
    assert (await http.request(method, f"{path}?colour=red&limit2=x")).json() == (await http.request(method, path)).json()


# C5


@one_server
@pytest.mark.parametrize("wait", ["0", "0ms", "0s", "0m", "500ms", "30s", "5m", "300000", "300s", "300000ms"])
async def test_c5_wait_for_takes_ms_and_durations(http: httpx.AsyncClient, wait: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1), event(2)]})
    assert data((await http.get("/v1/http-consumers/c/next", params={"wait_for": wait})).json()) == [1]
    value: int | str = int(wait) if wait.isdigit() else wait
    assert data((await http.post("/v1/http-consumers/c/next", json={"wait_for": value})).json()) == [2]


async def test_c5_a_wait_for_out_of_range_is_an_invalid_request(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    waits = ("-1", "300001", "301s", "6m", "1h", "1.5s", "x", "5 s", "s", "5S", "-5s", "300001ms", "1e3", "\u0663")
    for wait in waits:
        refused(await http.get("/v1/http-consumers/c/next", params={"wait_for": wait}), 400, "INVALID_REQUEST")
        refused(await http.post("/v1/http-consumers/c/next", json={"wait_for": wait}), 400, "INVALID_REQUEST")


# C6


async def test_c6_a_name(http: httpx.AsyncClient) -> None:
    for name in ("a", "A-z_0.9", "x" * 64, "-", "...", "0", "-leading.and_trailing-"):
        assert (await http.post("/v1/streams", json={"name": name})).status_code == 201
        assert (await http.get(f"/v1/streams/{name}")).json()["id"] == name
        assert (await http.post("/v1/http-consumers", json={"name": name, "stream_id": name})).status_code == 201
        assert (await http.get(f"/v1/http-consumers/{name}")).json()["id"] == name


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/http-consumers"])
async def test_c6_what_is_no_name_is_refused_on_create(http: httpx.AsyncClient, path: str) -> None:
    before = (await http.get(path)).json()
    names: list[Any] = ["", "x" * 65, "a b", "a/b", "a:b", "ä", "a\n", "\n", "a*", "{a}", "a\x00", 7, ["a"]]
    for name in names:
        reply = await http.post(path, json={"name": name})
        assert (reply.status_code, list(reply.json().get("validation_errors", ()))) == (422, ["name"]), repr(name)
    assert (await http.get(path)).json() == before


async def test_c6_a_stream_needs_a_name(http: httpx.AsyncClient) -> None:
    assert list(refused(await http.post("/v1/streams", json={}), 422, "VALIDATION_FAILED")) == ["name"]


async def test_c6_what_is_no_name_is_not_found_elsewhere(http: httpx.AsyncClient) -> None:
    for name in ("x" * 65, "a%20b", "a:b", "%C3%A4", "a%0A", "%7Ba%7D", "records%0A"):
        refused(await http.get(f"/v1/streams/{name}"), 404, "STREAM_NOT_FOUND")
        refused(await http.patch(f"/v1/streams/{name}", json={}), 404, "STREAM_NOT_FOUND")
        refused(await http.delete(f"/v1/streams/{name}"), 404, "STREAM_NOT_FOUND")
        refused(await http.post(f"/v1/streams/{name}/messages", json={"messages": [event(1)]}), 404, "STREAM_NOT_FOUND")
        refused(await http.get(f"/v1/http-consumers/{name}"), 404, "CONSUMER_NOT_FOUND")
        refused(await http.patch(f"/v1/http-consumers/{name}", json={}), 404, "CONSUMER_NOT_FOUND")
        refused(await http.delete(f"/v1/http-consumers/{name}"), 404, "CONSUMER_NOT_FOUND")
        refused(await http.get(f"/v1/http-consumers/{name}/next"), 404, "CONSUMER_NOT_FOUND")


# C7


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_c7_next_is_not_stored_by_caches(http: httpx.AsyncClient, method: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    assert (await http.request(method, "/v1/http-consumers/c/next")).headers["cache-control"] == "no-store"
    await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
    assert (await http.request(method, "/v1/http-consumers/c/next")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/none", "/v1/nothing", "/nothing", "/health/live"])
async def test_c7_a_request_id_is_echoed_or_made(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path, headers={"X-Request-Id": "abc-123"})).headers["x-request-id"] == "abc-123"
    made = [(await http.get(path)).headers["x-request-id"] for _ in range(2)]
    assert all(made)
    assert made[0] != made[1]
