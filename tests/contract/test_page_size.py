"""C54: what only shows is bounded in bytes too: a peek, and the pages of every list."""

from typing import Any

import pytest

from tests.conftest import Clock
from tests.contract.delivering import STREAMS, WAIT, consumer
from tests.contract.helpers import counts, event, tokens
from tests.contract.measuring import IDS, KINDS, all_of, measured, numbers, publish, text
from tests.support.api import HttpApi, Json

pytestmark = pytest.mark.anyio
api = measured


@pytest.mark.parametrize("fields", KINDS, ids=IDS)
async def test_c54_peek_shows_what_fits(api: HttpApi, fields: Json) -> None:
    await consumer(api, **fields)
    await publish(api, 40, fields.get("stream_id", "events"))
    shown = numbers(await api.peek("c", 1000))
    assert shown == list(range(len(shown)))
    assert 1 <= len(shown) < 10
    out = tokens(await api.next("c", 1000))
    await api.nack("c", out, delay_ms=0)
    assert numbers(await api.peek("c", 1000)) == shown


async def pages(read: Any, **query: Any) -> list[int]:
    """All rows, page by page; each page but the last has some."""
    found: list[int] = []
    after: str | None = None
    while True:
        page = await read(**({"after": after} if after else {}), limit=1000, **query)
        assert len(page["data"]) < 10
        found += numbers(page["data"])
        after = page["next"]
        if after is None:
            return found
        assert page["data"]


@pytest.mark.parametrize("stream", STREAMS)
async def test_c54_pages_of_messages_hold_what_fits(api: HttpApi, stream: str) -> None:
    await publish(api, 40, stream)
    await api.publish(stream, [event(text(99), "erp:x", id="99")])

    async def read(**query: Any) -> Json:
        return await api.messages(stream, **query)

    assert await pages(read) == [*range(40), 99]
    assert await pages(read, collection_id="crm:contacts") == list(range(40))
    assert await pages(read, collection_id="erp:x") == [99]


@pytest.mark.parametrize("how", ["reject", "expiry"])
async def test_c54_pages_of_dead_letters_hold_what_fits(api: HttpApi, clock: Clock, how: str) -> None:
    await consumer(api, max_deliver=1)
    await publish(api, 40)
    for _ in range(40):
        out = tokens(await api.next("c", 1000))
        if how == "reject" and out:
            await api.nack_each("c", [{"ack_token": token, "outcome": "reject"} for token in out])
    await clock.advance(WAIT)
    assert await counts(api, "c") == (0, 0, 40, 0)

    async def read(**query: Any) -> Json:
        return await api.dead_letters("c", **query)

    assert await pages(read) == list(range(40))
    assert await pages(read, reason="rejected") == (list(range(40)) if how == "reject" else [])
    assert await api.redrive("c") == {"redriven": 40, "gone": 0}
    assert sorted(await all_of(api, 40)) == list(range(40))


async def test_c54_a_page_of_what_is_out_holds_what_fits(api: HttpApi) -> None:
    await consumer(api)
    ids = [row["message_id"] for row in (await api.publish("events", [event(n) for n in range(60)]))["data"]]
    out = tokens(await api.next("c", 60))
    await api.nack_each("c", [{"ack_token": token, "reason": "\x01" * 1000, "delay_ms": 0} for token in out[:20]])
    while (await api.next("c", 60))["data"]:
        pass
    found: list[str] = []
    after: str | None = None
    while len(found) < 60:
        page = await api.pending("c", limit=1000, after=after)
        assert page["data"]
        found += [row["id"] for row in page["data"]]
        after = page["next"]
    assert (found, after) == (ids, None)


async def listed(api: HttpApi, path: str) -> list[str]:
    """The ids of all pages of a list; each page has some."""
    found: list[str] = []
    after: str | None = None
    while True:
        page = await api.call("GET", path, params={"limit": 1000, "after": after})
        assert page["data"]
        found += [row["id"] for row in page["data"]]
        after = page["next"]
        if after is None:
            return found


async def test_c54_the_reasons_of_dead_letters_count(api: HttpApi) -> None:
    await consumer(api)
    ids = [row["message_id"] for row in (await api.publish("events", [event(n) for n in range(60)]))["data"]]
    while out := tokens(await api.next("c", 60)):
        await api.nack_each("c", [{"ack_token": token, "outcome": "reject", "reason": "\x01" * 1000} for token in out])
    assert await listed(api, "/http-consumers/c/dead-letters") == ids


async def test_c54_a_page_of_what_is_retried_holds_what_fits(api: HttpApi) -> None:
    await consumer(api)
    ids = [row["message_id"] for row in (await api.publish("events", [event(n) for n in range(60)]))["data"]]
    while out := tokens(await api.next("c", 60)):
        await api.nack_each("c", [{"ack_token": token, "reason": "x" * 1000, "delay_ms": 60_000} for token in out])
    assert await listed(api, "/http-consumers/c/retrying") == ids


async def test_c54_a_page_of_what_is_scheduled_holds_what_fits(api: HttpApi) -> None:
    names = [f"{n}".ljust(250, "x") for n in range(60)]
    times = [f"2999-01-01T00:00:{n // 2:02}Z" for n in range(60)]  # two at a time
    await api.publish("events", [event(0, "c" * 250, id=name, deliver_at=at) for name, at in zip(names, times, strict=True)])
    assert await listed(api, "/streams/events/scheduled") == names


async def test_c54_a_list_of_consumers_holds_what_fits(api: HttpApi) -> None:
    names = [f"c{n}" for n in range(10, 30)]
    for name in names:
        await consumer(api, name=name, filters={"collection_id": [f"{n}".ljust(200, "x") for n in range(20)]})
    assert await listed(api, "/http-consumers") == names


async def test_c54_a_list_of_streams_holds_what_fits(api: HttpApi) -> None:
    names = [f"s{n}" for n in range(10, 30)]
    for name in names:
        await api.create_stream(name=name, metadata={"about": "x" * 4000})
    assert await listed(api, "/streams") == ["events", "records", *names]
