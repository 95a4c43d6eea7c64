"""The order of a stream, and reading it without a consumer (C16, C17)."""

import asyncio
from typing import Any

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.helpers import body, counts, data, event, plain_add, plain_read, publish_each, record
from tests.support.api import Api, Refused

pytestmark = pytest.mark.anyio


# C16


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_c16_updated_idx_grows_with_every_message(api: Api, stream: str) -> None:
    await api.create_consumer(name="c", stream_id=stream)
    for value in range(3):
        await api.publish(stream, [event(value, id=f"{name}{value if stream == 'events' else ''}") for name in "ab"])
    idx = [body(row)["updated_idx"] for row in (await api.next("c", 100))["data"]]
    assert idx == ([1, 2, 3, 4, 5, 6] if stream == "events" else [5, 6])


async def test_c16_updated_idx_goes_on_over_what_changes_nothing_and_what_is_dropped(api: Api) -> None:
    await api.create_stream(name="s", kind="events", max_messages=1)
    await api.publish("s", [event(1, id="x"), event(2, id="x"), event(3), event(4)])
    before = body((await api.messages("s"))["data"][0])["updated_idx"]
    await api.publish("s", [event(5)])
    assert body((await api.messages("s"))["data"][0])["updated_idx"] > before


async def test_c16_plain_entries_have_an_updated_idx_too(api: Api, store: Store) -> None:
    await publish_each(api, [1])
    await plain_add(store, "collection_id", "a:b", "data", "2")
    await plain_add(store, "collection_id", "a:b", "data", "3")
    await publish_each(api, [4])
    found = [body(row) for row in (await api.messages("events"))["data"]]
    assert [(m["data"], m["updated_idx"]) for m in found] == [(1, 1), (2, 2), (3, 3), (4, 4)]


OURS = '{"collection_id":"crm:contacts","id":"x","provider":"crm","data":0}'
STRAYS = {
    "words": ("hello", "world"), "no JSON": ("7 k", "world"), "a record": ("7 k 5", OURS), "a copy": ("7 k", OURS),
    "the word for plain": ("7 plain", OURS), "half": ("7 k", '{"collection_id":"crm:contacts" oops'),
    "an escape that is none": ("7 k", '{"collection_id":"a\\x","data":1}'), "without a number": (" k", '{"collection_id":"a\\x","data":1}'),
}  # fmt: skip


@pytest.mark.parametrize("stray", [name for name in STRAYS if name != "without a number"])
async def test_c16_a_plain_entry_may_call_its_fields_as_the_store_does(api: Api, store: Store, stray: str) -> None:
    head, text = STRAYS[stray]
    await api.create_consumer(name="c", stream_id="events")
    await api.create_consumer(name="filtered", stream_id="events", filters={"provider": "crm"})
    await publish_each(api, [1])
    await plain_add(store, "head", head, "body", text)
    await publish_each(api, [3])
    expected = [(1, "crm:contacts", 1), ({"head": head, "body": text}, "", 2), (3, "crm:contacts", 3)]
    for rows in ((await api.messages("events"))["data"], await api.peek("c"), (await api.next("c", 10))["data"]):
        assert [(m["data"], m["collection_id"], m["updated_idx"]) for m in map(body, rows)] == expected
    assert data(await api.next("filtered", 10)) == [1, 3]
    assert await counts(api, "c") == (0, 3, 0, 0)


@pytest.mark.parametrize("stray", STRAYS)
async def test_c16_such_an_entry_does_not_stop_the_stream(api: Api, store: Store, stray: str) -> None:
    head, text = STRAYS[stray]
    await plain_add(store, "head", head, "body", text)
    await api.create_consumer(name="c", stream_id="events", filters={"provider": "crm"})
    await publish_each(api, [2])
    assert data(await api.next("c", 10)) == [2]


async def test_c16_such_entries_do_not_count_by_the_numbers_that_they_claim(api: Api, store: Store) -> None:
    await api.create_stream(name="s", kind="events", max_messages=2)
    await api.create_consumer(name="c", stream_id="s")
    await publish_each(api, [1], stream="s")
    for _ in range(3):
        await plain_add(store, "head", "999 k", "body", OURS, stream="s")
    assert await counts(api, "c") == (2, 0, 0, 0)
    assert len((await api.next("c", 10))["data"]) == 2
    assert await counts(api, "c") == (0, 2, 0, 0)


@pytest.mark.parametrize("stray", ["words", "a record", "the word for plain"])
async def test_c16_such_an_entry_may_die(api: Api, store: Store, clock: Clock, stray: str) -> None:
    head, text = STRAYS[stray]
    await api.create_consumer(name="c", stream_id="events", max_deliver=1, ack_wait_ms=1000)
    await plain_add(store, "head", head, "body", text)
    await plain_read(store, "c")
    await clock.advance(1001)
    [letter] = (await api.dead_letters("c"))["data"]
    assert "event" in letter


# C17


async def test_c17_a_page_ends_where_the_stream_ended_when_it_began(api: Api) -> None:
    await publish_each(api, range(1000))
    page = asyncio.create_task(api.messages("events", limit=1, collection_id="none:here"))
    while not page.done():
        await publish_each(api, range(1000))
    assert await page == {"data": [], "next": None}


async def pages(api: Api, stream: str, **query: Any) -> list[Any]:
    """The data of all pages."""
    seen: list[Any] = []
    after: str | None = None
    while True:
        page = await api.messages(stream, after=after, **query)
        assert len(page["data"]) <= query["limit"]
        seen += data(page)
        after = page["next"]
        if after is None:
            return seen


async def test_c17_messages_are_paged_oldest_first(api: Api) -> None:
    for i in range(6):
        await api.publish("events", [event(i, "a:b" if i % 3 == 0 else "a:c")])
    for limit in (1, 2, 3, 6, 7, 1000):
        assert await pages(api, "events", limit=limit) == [0, 1, 2, 3, 4, 5]
        assert await pages(api, "events", limit=limit, collection_id="a:b") == [0, 3]
        assert await pages(api, "events", limit=limit, collection_id="a:none") == []
        assert await pages(api, "events", limit=limit, collection_id="a:*") == []


async def test_c17_a_page_has_100_messages_unless_told(api: Api) -> None:
    await publish_each(api, list(range(101)))
    page = await api.messages("events")
    assert data(page) == list(range(100))
    assert data(await api.messages("events", after=page["next"])) == [100]


async def test_c17_listing_leaves_consumers_alone(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await publish_each(api, [1, 2])
    assert data(await api.messages("events")) == [1, 2]
    assert await counts(api, "c") == (2, 0, 0, 0)


async def test_c17_a_record_by_its_id(api: Api) -> None:
    await api.publish("records", [record("a", 1), record("b", 1)])
    await api.publish("records", [record("a", 2)])
    assert (await api.record("records", "a"))["data"] == 2
    for stream, name in (("records", "none"), ("events", "a")):
        with pytest.raises(Refused, match="404 RECORD_NOT_FOUND"):
            await api.record(stream, name)
    with pytest.raises(Refused, match="404 STREAM_NOT_FOUND"):
        await api.record("none", "a")


@pytest.mark.parametrize(("name", "quoted"), [("a/b", "a%2Fb"), ("a/b", "a/b"), ("ä ?#%", "%C3%A4%20%3F%23%25"), ("x:1", "x:1")])
async def test_c17_a_record_id_may_be_any_text(http: httpx.AsyncClient, name: str, quoted: str) -> None:
    await http.post("/v1/streams/records/messages", json={"messages": [record(name, 1)]})
    reply = await http.get(f"/v1/streams/records/records/{quoted}")
    assert (reply.status_code, reply.json()["id"]) == (200, name)
