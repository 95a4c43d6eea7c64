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
    published = await http.post(f"/v1/streams/{stream}/messages", content=f'{{"messages":[{messages}]}}')
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
        assert (await http.post(path, content=content)).status_code == 201
        assert (await http.get(path)).status_code == 200
        listed = msgpack.unpackb((await http.get(path, headers={"Accept": "application/msgpack"})).content)
        assert [row["metadata"]["n"] for row in listed["data"] if row["name"] == "big"] == [math.inf]
