"""Data keep the bytes that were published, and what is no JSON is refused (C13)."""

import asyncio
import json
import re

import httpx
import msgpack
import pytest

from tests.contract.helpers import AS_JSON, NDJSON, data
from tests.support.api import Api

pytestmark = pytest.mark.anyio

EVENTS = "/v1/streams/events/messages"
SPELLINGS = [
    b"1.10", b"1e5", b"1E+5", b"-0", b"-0.0", b"0.1e-7", b"123456789012345678901234567890", b"1.0", b"3.141592653589793238462643383279",
    b"1e400", b"true", b"null", b'""', b"[]", b"{}", b'{"b":1,"a":2,"c":{"z":1,"y":2}}', b'{"a":1,"a":2}', b'"\\u00e9\\u0041\\/\\n"',
    '"é☃𝄞\u2028"'.encode(), b'"\\ud83d\\ude00"', b'"\\u0000"', b'[[[[[1.10,{"k":[1e5]}]]]]]', b'{"":0," ":1,"\\"":2}',
    b'"{\\"data\\":1}"', b'{"data":{"data":1},"ack_token":"x"}', b'["</script>", "]}"]',
]  # fmt: skip


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_data_comes_out_as_the_very_json_that_went_in(http: httpx.AsyncClient, stream: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": stream})
    rows = b",".join(b'{"collection_id":"a:b","id":"%d","data":%b}' % row for row in enumerate(SPELLINGS))
    sent = b'{"messages":[%b]}' % rows
    assert (await http.post(f"/v1/streams/{stream}/messages", content=sent, headers=AS_JSON)).status_code == 200
    peeked = (await http.get("/v1/http-consumers/c/peek?limit=100")).content
    fetched = (await http.get("/v1/http-consumers/c/next?batch_size=100")).content
    listed = (await http.get(f"/v1/streams/{stream}/messages")).content
    for i, raw in enumerate(SPELLINGS):
        wanted = re.compile(rb'"id":"%d",.*?"data":%b[,}]' % (i, re.escape(raw)))
        assert [bool(wanted.search(content)) for content in (peeked, fetched, listed)] == [True] * 3, raw
        if stream == "records":
            assert wanted.search((await http.get(f"/v1/streams/records/records/{i}")).content), raw


async def test_versions_of_callers_that_come_together_are_all_told_apart(api: Api) -> None:
    answers = await asyncio.gather(*(api.publish("records", [{"id": "r", "collection_id": "a:b", "data": n}]) for n in (1, 2, 1)))
    rows = [answer["data"][0] for answer in answers]
    assert sorted(row["status"] for row in rows) == ["created", "updated", "updated"]
    assert len({row["message_id"] for row in rows}) == 3


async def test_data_of_ndjson_and_changes_keep_their_spelling(http: httpx.AsyncClient) -> None:
    lines = b"".join(b'{"collection_id":"a:b","data":%b,"changes":{"was":%b}}\n' % (raw, raw) for raw in SPELLINGS)
    assert (await http.post(EVENTS, content=lines, headers=NDJSON)).status_code == 200
    content = (await http.get(EVENTS)).content
    for raw in SPELLINGS:
        assert b'"changes":{"was":' + raw + b'},"data":' + raw + b"}" in content, raw


async def test_any_data_can_be_read_as_msgpack(http: httpx.AsyncClient) -> None:
    for raw in SPELLINGS:
        await http.post(EVENTS, content=b'{"messages":[{"collection_id":"a:b","data":%b}]}' % raw, headers=AS_JSON)
    reply = await http.get(EVENTS, headers={"Accept": "application/msgpack"})
    assert reply.status_code == 200
    found = data(msgpack.unpackb(reply.content))
    exact = [i for i, raw in enumerate(SPELLINGS) if raw not in (b"123456789012345678901234567890", b"1e400")]
    assert [found[i] for i in exact] == [json.loads(SPELLINGS[i]) for i in exact]


INVALID = [
    b"01", b"1.", b".5", b"-", b"+1", b"1e", b"0x1", b"NaN", b"Infinity", b"-Infinity", b"tru", b"nul", b"True", b"'a'", b'"a', b'"\\x"',
    b'"\\u12g4"', b'"a\nb"', b'"\x01"', b'"\xff"', b"[1,]", b"[1 2]", b'{"a":1,}', b'{"a" 1}', b'{"a":}', b"{1:2}", b"[1", b'{"a":[1}',
    b"", b"[" * 100_000 + b"]" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c13_data_that_is_no_json_is_refused_and_nothing_is_stored(http: httpx.AsyncClient, stream: str) -> None:
    for raw in INVALID:
        sent = b'{"messages":[{"collection_id":"a:b","id":"0","data":0},{"collection_id":"a:b","id":"1","data":%b}]}' % raw
        reply = await http.post(f"/v1/streams/{stream}/messages", content=sent, headers=AS_JSON)
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST"), raw[:20]
    assert (await http.get(f"/v1/streams/{stream}/messages")).json()["data"] == []
