"""Fields, waits, names and headers of every call (C4-C7). HTTP only."""

from typing import Any

import httpx
import pytest

from tests.contract.helpers import data, event, one_server, refused

pytestmark = pytest.mark.anyio


async def no_messages(http: httpx.AsyncClient, stream: str = "events") -> bool:
    return bool((await http.get(f"/v1/streams/{stream}/messages")).json() == {"data": [], "next": None, "scanned": 0})


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
