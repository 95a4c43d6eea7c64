"""What HTTP itself asks of every call (C1, C3, C7). HTTP only."""

import sys

import httpx
import msgpack
import pytest

from tests.contract.helpers import event, one_server

pytestmark = pytest.mark.anyio

JSON, PACKED, OLD_NAME = "application/json", "application/msgpack", "application/x-msgpack"


@one_server
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
        await http.post("/v1/http-consumers/c/next", content=b"[", headers={"Content-Type": JSON}),
        await http.head("/v1/http-consumers/c/next"),
    ]
    assert [reply.status_code for reply in replies] == [404, 400, 400, 405]
    assert {reply.headers["cache-control"] for reply in replies} == {"no-store"}
    assert "cache-control" not in (await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})).headers


INTERNALS = ("regex", "recursion", "codec", "strict_map_key", "serializable", "truncated", "None", ": .")


@one_server
@pytest.mark.parametrize(
    "body",
    [b"\x81\x01\x02", b"\xa1\xff", b"\xc4\x01a", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\x91" * 5000 + b"\xc0", b"\x81", b"\x01\x02",
     b"\xd6\xff\0\0\0\1", b"\x81\xc4\x01a\x01", b"\xc1", b"\xa3\xed\xa0\x80"],
)  # fmt: skip
async def test_c3_what_is_wrong_with_messagepack_is_said_in_words_about_the_body(http: httpx.AsyncClient, body: bytes) -> None:
    reply = await http.post("/v1/streams", content=body, headers={"Content-Type": PACKED})
    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (400, "INVALID_REQUEST")
    assert problem["summary"].startswith("The body is ")
    assert not any(word in problem["summary"] for word in INTERNALS)


@pytest.mark.parametrize("depth", [*([990] if sys.version_info < (3, 12) else []), 5000])
async def test_c3_packed_values_that_are_nested_too_deeply_are_called_so(http: httpx.AsyncClient, depth: int) -> None:
    # Where a parser that calls itself gives up is Python's to say, 1,000 in 3.11 and 1,500 in 3.12; MessagePack's gives
    # up at 1,024.
    body = msgpack.packb({"messages": [event("here")]}).replace(msgpack.packb("here"), b"\x91" * depth + b"\xc0")
    reply = await http.post("/v1/streams/events/messages", content=body, headers={"Content-Type": PACKED})
    assert (reply.status_code, reply.json()["summary"]) == (400, "The body is nested too deeply.")


@one_server
@pytest.mark.parametrize("name", ["a b", "", "x" * 65, ".", "..", "a/b"])
@pytest.mark.parametrize("path", ["/v1/streams", "/v1/http-consumers"])
async def test_c6_a_wrong_name_is_refused_with_what_a_name_is(http: httpx.AsyncClient, path: str, name: str) -> None:
    reply = await http.post(path, json={"name": name})
    assert reply.status_code == 422
    assert reply.json()["validation_errors"] == {"name": ["must be 1-64 of A-Z a-z 0-9 _ . -, but not . or .. alone"]}


@pytest.mark.parametrize("name", ["%2E", "%2E%2E", "%2e%2e"])
async def test_c6_dots_alone_are_no_name_anywhere(http: httpx.AsyncClient, name: str) -> None:
    for path in ("/v1/streams/", "/v1/http-consumers/"):
        assert [(await http.request(method, path + name)).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert (await http.post("/v1/http-consumers", json={"name": "c", "stream_id": ".."})).status_code == 422
    assert (await http.post("/v1/streams", json={"name": "..."})).status_code == 201


async def test_c4_a_field_that_a_call_on_deliveries_does_not_have_is_named_and_nothing_is_done(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
    token = (await http.get("/v1/http-consumers/c/next")).json()["data"][0]["ack_token"]
    bodies = [
        ("next", {"acks": [token]}, "acks"),
        ("next", {"ack_tokens": [token]}, "ack_tokens"),
        ("next", {"nack": [{"ack_token": token, "delay": 5}]}, "nack[0].delay"),
        ("ack", {"ack_tokens": [token], "tokens": []}, "tokens"),
        ("nack", {"ack_tokens": [token], "delay": 5000}, "delay"),
        ("nack", {"nacks": [{"ack_token": token}, {"ack_token": token, "why": None}]}, "nacks[1].why"),
        ("extend", {"ack_tokens": [token], "by_ms": 5}, "by_ms"),
    ]
    for call, body, named in bodies:
        reply = await http.post(f"/v1/http-consumers/c/{call}", json=body)
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST"), body
        assert reply.json()["summary"].startswith(f"{named} is no field here"), body
    assert (await http.post("/v1/http-consumers/c/ack", json={"ack_tokens": [token]})).json() == {"acked": 1, "stale": []}


STREAM_NULLS = ["kind", "max_messages", "max_age_ms", "dedupe_window_ms", "replicas", "fsync", "metadata"]
CONSUMER_NULLS = [
    "name", "stream_id", "ack_wait_ms", "ack_wait", "max_deliver", "max_ack_pending", "max_waiting", "deliver_policy", "filters",
    "ordering", "backoff_ms", "metadata",
]  # fmt: skip


async def test_c4_null_is_as_absent_where_something_is_created(http: httpx.AsyncClient) -> None:
    for path, nulls in (("/v1/streams", STREAM_NULLS), ("/v1/http-consumers", CONSUMER_NULLS)):
        required = {"name": "x"}
        sparse = (await http.post(path, json=required)).json()
        replies = [await http.post(path, json={field: None} | required) for field in nulls]
        replies.append(await http.post(path, json=dict.fromkeys(nulls) | required))
        assert [reply.status_code for reply in replies] == [200] * len(replies)
        assert all(reply.json() | {"info": None} == sparse | {"info": None} for reply in replies)


async def test_c4_null_changes_nothing_but_takes_a_limit_away(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"name": "s", "kind": "events", "max_messages": 5, "max_age_ms": 5000, "metadata": {"a": 1}})
    before = (await http.get("/v1/streams/s")).json()
    nulls = dict.fromkeys(["name", "kind", "dedupe_window_ms", "replicas", "fsync", "metadata"])
    assert (await http.patch("/v1/streams/s", json=nulls)).json() == before
    limits = (await http.patch("/v1/streams/s", json={"max_messages": None, "max_age_ms": None})).json()
    assert (limits["max_messages"], limits["max_age_ms"], limits["metadata"]) == (None, None, {"a": 1})
    fields = {"name": "c", "ack_wait_ms": 700, "max_deliver": 3, "filters": {"provider": "a"}, "backoff_ms": [1], "metadata": {"a": 1}}
    await http.post("/v1/http-consumers", json=fields)
    known = (await http.get("/v1/http-consumers/c")).json()
    for method in ("PATCH", "PUT"):
        reply = await http.request(method, "/v1/http-consumers/c", json=dict.fromkeys(CONSUMER_NULLS))
        assert reply.status_code == 200
        assert (await http.get("/v1/http-consumers/c")).json() == known


async def test_c12_null_is_as_absent_in_what_is_published(http: httpx.AsyncClient) -> None:
    optional = dict.fromkeys(["id", "upstream_id", "resource_id", "sync_id", "upstream_created_at", "upstream_updated_at", "headers"])
    records = dict.fromkeys(["deleted"]) | optional | {"upstream_id": "u"}
    events = dict.fromkeys(["event", "changes", "key", "deliver_at", "ttl_ms"]) | optional
    for stream, nulls in (("records", records), ("events", events)):
        sparse, full = event(1), nulls | event(1)
        if stream == "records":
            sparse |= {"upstream_id": "u"}
        for message in (sparse, full):
            assert (await http.post(f"/v1/streams/{stream}/messages", json={"messages": [message]})).status_code == 200
        shown = [row.popitem()[1] for row in (await http.get(f"/v1/streams/{stream}/messages")).json()["data"]]
        mine = [{k: v for k, v in row.items() if k not in ("id", "updated_idx", "inserted_at")} for row in shown]
        assert (len(mine), mine[0]) == ({"records": 1, "events": 2}[stream], mine[-1])


async def test_c20_null_is_as_absent_in_next_and_nack(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1), event(2)]})
    nothing = dict.fromkeys(["batch_size", "min_batch", "wait_for", "ack", "nack"])
    batch = (await http.post("/v1/http-consumers/c/next", json=nothing)).json()
    assert (len(batch["data"]), set(batch)) == (1, {"data", "info"})
    nack = dict.fromkeys(["delay_ms", "outcome", "reason"]) | {"ack_token": batch["data"][0]["ack_token"]}
    body = {"ack_tokens": None, "delay_ms": None, "nacks": [nack]}
    assert (await http.post("/v1/http-consumers/c/nack", json=body)).json() == {"nacked": 1, "stale": []}
    assert (await http.post("/v1/http-consumers/c/ack", json={"ack_tokens": None})).status_code == 400
    assert (await http.post("/v1/http-consumers/c/dead-letters/redrive", json={"dry_run": None})).json() == {"redriven": 0, "gone": 0}


async def test_metrics_leave_out_what_was_deleted(http: httpx.AsyncClient) -> None:
    async def used() -> None:
        for stream in ("gone", "going"):
            await http.post("/v1/streams", json={"name": stream, "kind": "events"})
            await http.post("/v1/http-consumers", json={"name": f"of-{stream}", "stream_id": stream})
            await http.post(f"/v1/streams/{stream}/messages", json={"messages": [event(1)]})
            batch = (await http.get(f"/v1/http-consumers/of-{stream}/next")).json()
            await http.post(f"/v1/http-consumers/of-{stream}/ack", json={"ack_tokens": [batch["data"][0]["ack_token"]]})

    async def named() -> set[str]:
        lines = (await http.get("/metrics")).text.splitlines()
        counts = [line for line in lines if line.startswith(("broker_delivered_total", "broker_settled_total", "broker_published_total"))]
        return {name for name in ("of-gone", "of-going", '"gone"', '"going"') if any(name in line for line in counts)}

    for _ in range(2):
        await used()
        assert await named() == {"of-gone", "of-going", '"gone"', '"going"'}
        await http.delete("/v1/http-consumers/of-gone")
        await http.delete("/v1/streams/gone")
        assert await named() == {"of-going", '"going"'}
        await http.delete("/v1/streams/going?force=true")
        assert await named() == set()
