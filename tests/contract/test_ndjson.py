"""Publishing lines, which are stored as they come (C13, C14). HTTP only."""

import gc
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.contract.helpers import data, event, record, statuses

pytestmark = pytest.mark.anyio

NDJSON = {"Content-Type": "application/x-ndjson"}
EVENTS, RECORDS = "/v1/streams/events/messages", "/v1/streams/records/messages"


def ndjson(messages: list[Any]) -> bytes:
    return b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\n" for m in messages)


@pytest.mark.parametrize("at", [1, 8, 738, 1501])
async def test_c13_a_bad_line_stops_ndjson_and_is_named(http: httpx.AsyncClient, at: int) -> None:
    bad = [b"{\n", b"7\n", b'{"collection_id":"a:b"}\n', b'{"collection_id":"a:b","data":1,"x":1}\n', b"\xff\n"]
    for i, line in enumerate(bad):
        await http.post("/v1/streams", json={"name": f"s{i}", "kind": "events"})
        messages: list[Any] = [event(value) for value in range(1502)]
        messages[at - 1] = line
        reply = await http.post(f"/v1/streams/s{i}/messages", content=ndjson(messages), headers=NDJSON)
        problem = reply.json()
        assert (reply.status_code, problem["code"]) == (422, "VALIDATION_FAILED")
        assert re.search(rf"\b{at - 1}\b", problem["summary"])
        assert [re.findall(r"\d+", path) for path in problem["validation_errors"]] == [[str(at)]]
        assert (await http.get(f"/v1/streams/s{i}")).json()["info"]["messages"] == at - 1


async def test_c13_ndjson_may_have_any_length_and_come_in_any_pieces(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        text = ndjson([event(i) for i in range(2500)])
        for i in range(0, len(text), 777):
            yield text[i : i + 777]

    reply = await http.post(EVENTS, content=pieces(), headers=NDJSON)
    answer = reply.json()
    assert (reply.status_code, answer["info"], len(answer["data"])) == (200, {"created": 2500}, 2500)
    first = (await http.get(EVENTS, params={"limit": 1000})).json()
    assert data(first) == list(range(1000))
    assert [row["id"] for row in first["data"]] == [row["message_id"] for row in answer["data"][:1000]]


async def test_c13_ndjson_upserts_records_across_lines(http: httpx.AsyncClient) -> None:
    reply = await http.post(RECORDS, content=ndjson([record("a", 1), record("a", 2), record("a", 2)]), headers=NDJSON)
    assert statuses(reply.json()) == ["created", "updated", "unchanged"]
    assert reply.json()["info"] == {"created": 1, "updated": 1, "unchanged": 1}


async def test_c13_ndjson_may_end_its_lines_as_it_likes(http: httpx.AsyncClient) -> None:
    line = b'{"collection_id":"a:b","data":1}'
    for text in (line, line + b"\r\n", b"\n\n" + line + b"\n\n"):
        assert (await http.post(EVENTS, content=text, headers=NDJSON)).json()["info"] == {"created": 1}


async def test_c14_a_line_over_1_mib_is_too_large_and_those_before_it_stay(http: httpx.AsyncClient) -> None:
    content = ndjson([event(0), event(1), event("x" * (1 << 20)), event(3)])
    reply = await http.post(EVENTS, content=content, headers=NDJSON)
    assert (reply.status_code, reply.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert data((await http.get(EVENTS)).json()) == [0, 1]


async def test_c14_ndjson_may_be_longer_than_a_json_body(http: httpx.AsyncClient) -> None:
    content = ndjson([event("x" * 1_000_000) for _ in range(10)])
    assert (await http.post(EVENTS, content=content, headers=NDJSON)).json()["info"] == {"created": 10}


async def test_bad_lines_keep_no_turn_from_those_who_come_after(http: httpx.AsyncClient) -> None:
    """Few uploads are read at a time; one that was refused gives its turn back at once, not at a garbage collection."""
    gc.disable()
    try:
        for _ in range(40):
            reply = await http.post(EVENTS, content=b"{\n" * 2, headers=NDJSON)  # the turn is taken, and the first line is bad
            assert reply.status_code == 422
    finally:
        gc.enable()
