"""Section 2: what HTTP itself asks of every call (C1, C3, C7). HTTP only."""

import httpx
import pytest

from tests.contract.helpers import event

pytestmark = pytest.mark.anyio

JSON, PACKED, OLD_NAME = "application/json", "application/msgpack", "application/x-msgpack"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ([], JSON), ([""], JSON), (["*/*"], JSON), (["application/*"], JSON), (["text/html"], JSON), ([JSON], JSON), ([PACKED], PACKED),
        ([OLD_NAME], OLD_NAME), (["APPLICATION/MSGPACK"], PACKED), (["application/msgpackfoo"], JSON), (["x/application/msgpack"], JSON),
        ([f"{PACKED}, */*"], PACKED), ([f"*/*, {PACKED}"], PACKED), ([f"{PACKED};q=0, */*"], JSON), ([f"{PACKED};q=0.5, */*"], JSON),
        ([f"{JSON}, {PACKED};q=0.1"], JSON), ([f"{PACKED};q=0.1,{JSON}"], JSON), ([f"{JSON};q=0.5, {PACKED};q=0.9"], PACKED),
        ([f"{JSON};q=0.5, {PACKED} ; Q=0.500"], JSON), ([f"{JSON}, {PACKED}"], JSON), ([f"{PACKED}, {JSON}"], PACKED),
        ([f"{JSON};q=0, */*"], PACKED), ([f"{JSON};q=0, application/*;q=0.1"], PACKED), ([f"{JSON};q=0"], JSON),
        (["text/html", PACKED], PACKED), ([JSON, f"{PACKED};q=0.5"], JSON), ([f"{PACKED};q=high"], JSON), ([f"{PACKED};q=2"], JSON),
        ([f"{PACKED};v=1;q=0.7, {JSON};q=0.6"], PACKED), ([f"{OLD_NAME}, {PACKED}"], OLD_NAME), (["*/*;q=0.1, text/plain"], JSON),
    ],
)  # fmt: skip
async def test_c1_an_answer_is_of_the_type_that_the_client_would_rather_have(http: httpx.AsyncClient, accept: list[str], kind: str) -> None:
    del http.headers["accept"]
    for path, status in (("/v1/streams", 200), ("/v1/streams/none", 404)):
        reply = await http.get(path, headers=[("Accept", value) for value in accept])
        assert (reply.status_code, reply.headers["content-type"]) == (status, kind)


async def test_c1_caches_are_told_that_the_type_depends_on_accept(http: httpx.AsyncClient) -> None:
    for path in ("/v1/streams", "/v1/streams/none", "/openapi.json"):
        for accept in (JSON, PACKED):
            assert (await http.get(path, headers={"Accept": accept})).headers["vary"] == "Accept"


async def test_c3_a_wrong_method_is_told_that_head_is_served_where_it_is(http: httpx.AsyncClient) -> None:
    assert (await http.put("/v1/streams")).headers["allow"] == "POST, GET, HEAD"
    assert (await http.head("/v1/streams")).status_code == 200
    assert (await http.put("/v1/http-consumers/c/next")).headers["allow"] == "GET, POST"


async def test_c7_errors_of_next_are_not_stored_by_caches(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"})
    replies = [
        await http.get("/v1/http-consumers/none/next"),
        await http.get("/v1/http-consumers/c/next?batch_size=0"),
        await http.post("/v1/http-consumers/c/next", content=b"["),
        await http.head("/v1/http-consumers/c/next"),
    ]
    assert [reply.status_code for reply in replies] == [404, 400, 400, 405]
    assert {reply.headers["cache-control"] for reply in replies} == {"no-store"}
    assert "cache-control" not in (await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})).headers
