"""Input that is valid and unusual, or nearly valid (C1, C13, C20). HTTP only."""

import math

import httpx
import msgpack
import pytest

pytestmark = pytest.mark.anyio

HUGE = ["9" * 309, "-" + "9" * 4301, "1E400", "1e-400", "[" * 900 + "]" * 900]


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c1_c20_numbers_and_nesting_of_any_size_reach_readers_of_messagepack(http: httpx.AsyncClient, stream: str) -> None:
    messages = ",".join(f'{{"id":"{i}","collection_id":"a:b","data":{text}}}' for i, text in enumerate(HUGE))
    published = await http.post(f"/v1/streams/{stream}/messages", content=f'{{"messages":[{messages}]}}', headers=AS_JSON)
    assert (published.status_code, published.json()["info"]) == (200, {"created": len(HUGE)})
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": stream})
    packed = {"Accept": "application/msgpack"}
    paths = [f"/v1/streams/{stream}/messages", "/v1/http-consumers/c/peek?limit=100", "/v1/http-consumers/c/next?batch_size=100"]
    for path in paths:
        reply = await http.get(path, headers=packed)
        assert (reply.status_code, reply.content.count(b"updated_idx")) == (200, len(HUGE))
    if stream == "records":
        assert (await http.get("/v1/streams/records/records/0", headers=packed)).status_code == 200
    delivered = (await http.get(f"/v1/streams/{stream}/messages")).content
    assert all(f'"data":{text}'.encode() in delivered for text in HUGE)


async def test_c1_metadata_with_a_huge_number_leaves_lists_as_they_are(http: httpx.AsyncClient) -> None:
    content = f'{{"name":"big","metadata":{{"n":{"9" * 400}}}}}'
    for path in ("/v1/streams", "/v1/http-consumers"):
        assert (await http.post(path, content=content, headers=AS_JSON)).status_code == 201
        assert (await http.get(path)).status_code == 200
        listed = msgpack.unpackb((await http.get(path, headers={"Accept": "application/msgpack"})).content)
        assert [row["metadata"]["n"] for row in listed["data"] if row["name"] == "big"] == [math.inf]


BAD_UTF8 = [b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xc0\x80"]
AS_JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.mark.parametrize("bad", BAD_UTF8)
@pytest.mark.parametrize("field", [b'"data":"%b"', b'"data":{"a":["%b"]}', b'"data":1,"changes":{"a":"%b"}', b'"data":1,"key":"%b"'])
async def test_c1_c13_a_line_that_is_not_utf8_is_refused_and_those_before_it_are_stored(
    http: httpx.AsyncClient, field: bytes, bad: bytes
) -> None:
    body = b'{"collection_id":"a","data":"\xc3\xa9"}\n\n{"collection_id":"a",%b}\n{"collection_id":"a","data":2}\n' % (field % bad)
    reply = await http.post("/v1/streams/events/messages", content=body, headers=NDJSON)
    assert (reply.status_code, reply.json()["validation_errors"]) == (422, {"line[3]": ["must be UTF-8"]})
    assert reply.json()["summary"].endswith("1 message before it is stored.")
    stored = await http.get("/v1/streams/events/messages")
    assert [row["event"]["data"] for row in stored.json()["data"]] == ["é"]


BOM = b"\xef\xbb\xbf"


async def test_c1_a_byte_order_mark_before_a_body_is_passed_over(http: httpx.AsyncClient) -> None:
    message = b'{"collection_id":"a","data":1}'
    path = "/v1/streams/events/messages"
    assert (await http.post("/v1/http-consumers", content=BOM + b'{"name":"c"}', headers=AS_JSON)).status_code == 201
    assert (await http.post(path, content=BOM + b'{"messages":[%b]}' % message, headers=AS_JSON)).json()["info"] == {"created": 1}
    assert (await http.post(path, content=BOM + b"%b\n%b" % (message, message), headers=NDJSON)).json()["info"] == {"created": 2}
    assert (await http.post(path, content=BOM, headers=NDJSON)).json()["info"] == {}
    inside = await http.post(path, content=b"%b\n%b%b" % (message, BOM, message), headers=NDJSON)
    assert (inside.status_code, list(inside.json()["validation_errors"])) == (422, ["line[2]"])


@pytest.mark.parametrize("path", ["/v1%2Fstreams", "/health%2flive", "/v1/http-consumers%2Fc", "/v1/http-consumers/c%2Fpeek"])
async def test_c6_an_encoded_slash_separates_nothing(http: httpx.AsyncClient, path: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    assert (await http.get(path)).status_code == 404
    published = await http.post("/v1/streams/events%2Fmessages", json={"messages": [{"collection_id": "a:b", "data": 1}]})
    assert (published.status_code, (await http.get("/v1/streams/events/messages")).json()["data"]) == (405, [])


async def test_c17_an_encoded_slash_is_a_part_of_a_records_id(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams/records/messages", json={"messages": [{"collection_id": "a:b", "id": "a/b%2Fc", "data": 1}]})
    for spelled in ("a%2Fb%252Fc", "a/b%252Fc"):
        assert (await http.get(f"/v1/streams/records/records/{spelled}")).json()["id"] == "a/b%2Fc"
