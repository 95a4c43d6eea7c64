"""Another server makes a stream again, with the other kind (C46)."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from broker import Broker, Store
from broker.store.embedded import Embedded
from tests.contract.helpers import data, event, refused
from tests.support.api import Api, Json, Refused
from tests.support.clock import shifted_scripts
from tests.support.cluster import Cluster
from tests.support.library_api import LibraryApi

pytestmark = pytest.mark.anyio

KINDS = [("events", "records"), ("records", "events")]
OWN: dict[str, Json] = {"events": {"event": "closed", "changes": {"a": 1}}, "records": {"deleted": True}}


@pytest.fixture
async def other(redis_server: Embedded | Cluster, broker: Broker, clustered: bool) -> AsyncIterator[Api]:
    """A second server over the same Redis."""
    second = Broker(Store.from_url(redis_server.url), scripts=shifted_scripts(clustered))
    yield LibraryApi(second)
    await second.close()


async def make_again(other: Api, kind: str) -> None:
    """The stream `s`, with nothing but its new kind."""
    await other.delete_stream("s", force=True)
    await other.create_stream(name="s", kind=kind)


@pytest.mark.parametrize(("first", "then"), KINDS)
async def test_c46_what_is_read_is_of_the_kind_that_the_stream_has_now(api: Api, other: Api, first: str, then: str) -> None:
    label = then[:-1]
    await api.create_stream(name="s", kind=first)
    await api.create_consumer(name="c", stream_id="s", max_deliver=1)
    await api.publish("s", [event(1, id="x")])
    assert first[:-1] in (await api.messages("s"))["data"][0]
    assert data(await api.next("c")) == [1]
    await make_again(other, then)
    await other.create_consumer(name="c", stream_id="s", max_deliver=1)
    await other.publish("s", [event(2, id="x")])
    if then == "records":
        assert (await api.record("s", "x"))["data"] == 2
    else:
        with pytest.raises(Refused) as refusal:
            await api.record("s", "x")
        assert (refusal.value.status, refusal.value.code) == (404, "RECORD_NOT_FOUND")
    batch = await api.next("c")
    await api.nack("c", [batch["data"][0]["ack_token"]])
    for [row] in ((await api.messages("s"))["data"], batch["data"], (await api.dead_letters("c"))["data"]):
        assert row[label]["data"] == 2
    await other.publish("s", [event(3, id="y")])
    assert [row[label]["data"] for row in await api.peek("c")] == [3]


@pytest.mark.parametrize(("first", "then"), KINDS)
async def test_c46_what_is_published_is_of_the_kind_that_the_stream_has_now(api: Api, other: Api, first: str, then: str) -> None:
    await api.create_stream(name="s", kind=first)
    await api.publish("s", [event(1) | OWN[first] | {"upstream_id": "1"}])
    await make_again(other, then)
    answers = await asyncio.gather(*(api.publish("s", [event(n, upstream_id=str(n))]) for n in range(9)))
    assert [answer["info"] for answer in answers] == [{"created": 1}] * 9
    await make_again(other, first)
    assert (await api.publish("s", [event(1) | OWN[first] | {"upstream_id": "1"}]))["info"] == {"created": 1}
    await make_again(other, then)
    with pytest.raises(Refused) as refusal:
        await api.publish("s", [event(1) | OWN[first] | {"upstream_id": "1"}])
    assert (refusal.value.status, list(refusal.value.errors)) == (422, [f"messages[0].{next(iter(OWN[first]))}"])


@pytest.mark.parametrize(("first", "then"), KINDS)
async def test_c46_so_are_lines(http: httpx.AsyncClient, other: Api, first: str, then: str) -> None:
    def line(kind: str) -> bytes:
        return msgspec.json.encode(event(1) | OWN[kind] | {"upstream_id": "1"}) + b"\n"

    async def upload(lines: bytes | AsyncIterator[bytes]) -> httpx.Response:
        return await http.post("/v1/streams/s/messages", content=lines, headers={"content-type": "application/x-ndjson"})

    await other.create_stream(name="s", kind=first)
    assert (await upload(line(first))).json()["info"] == {"created": 1}
    await make_again(other, then)
    assert (await upload(line(then))).json()["info"] == {"created": 1}
    await make_again(other, then)

    async def lines() -> AsyncIterator[bytes]:
        yield b"".join(line(then).replace(b'"1"', b'"%d"' % n) for n in range(250))
        while (await other.get_stream("s"))["info"]["messages"] < 250:
            pass
        await make_again(other, first)
        yield line(then)

    reply = await upload(lines())
    refused(reply, 404, "STREAM_NOT_FOUND")
    assert "250 messages before it are stored" in reply.json()["summary"]
