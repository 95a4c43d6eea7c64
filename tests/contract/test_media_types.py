"""JSON, MessagePack and lines, in bodies and in answers (C1). HTTP only."""

import json
from typing import Any

import httpx
import msgpack
import pytest

from tests.contract.helpers import MSGPACK, NDJSON, data, event, refused

pytestmark = pytest.mark.anyio

AS_MSGPACK = {"Accept": "application/msgpack"}


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
