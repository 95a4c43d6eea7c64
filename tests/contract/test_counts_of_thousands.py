"""The counts are exact where thousands are out or wait for a retry (C28)."""

from typing import Any

import pytest

from broker import Broker, ConsumerChanges, ConsumerSpec, Filters, Nack, Store
from tests.conftest import Clock
from tests.contract.helpers import (
    counts,
    event,
    plain_ack,
)
from tests.support.api import Json
from tests.support.library_api import LibraryApi

pytestmark = pytest.mark.anyio

THOUSAND = 1000


async def fill(broker: Broker, count: int, collection_id: str = "crm:contacts") -> None:
    """Events by the thousand; their data are 0, 1, …"""
    for start in range(0, count, THOUSAND):
        await broker.publish("events", [event(n, collection_id) for n in range(start, min(start + THOUSAND, count))])


async def take_out(broker: Broker, count: int) -> list[str]:
    """Deliver so many to a worker; gives their tokens."""
    out: list[str] = []
    while len(out) < count:
        batch = await broker.next("c", min(THOUSAND, count - len(out)))
        assert batch.deliveries
        out += [delivery.ack_token for delivery in batch.deliveries]
    return out


def by_thousands(given: list[str]) -> list[list[str]]:
    return [given[i : i + THOUSAND] for i in range(0, len(given), THOUSAND)]


async def ten_exhausted_after_3000(broker: Broker, clock: Clock, **fields: Any) -> None:
    """3,010 are out and expired: 3,000 extended first deliveries, then 10 that have had their last one."""
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ack_wait_ms=60_000, max_ack_pending=10_000, **fields))
    await fill(broker, 3010)
    out = await take_out(broker, 3010)
    await broker.nack("c", [Nack(token, 0) for token in out[3000:]])
    assert [d.deliver_count for d in (await broker.next("c", 10)).deliveries] == [2] * 10
    for some in by_thousands(out[:3000]):
        assert (await broker.extend("c", some)).count == THOUSAND
    await clock.advance(60_000)


@pytest.mark.parametrize("first_look", ["info", "letters", "dry run", "redrive", "peek", "next"])
async def test_c28_the_dead_are_counted_that_lie_after_3000_living(broker: Broker, clock: Clock, first_look: str) -> None:
    await ten_exhausted_after_3000(broker, clock, max_deliver=2)
    if first_look == "info":
        assert (await broker.consumers.get("c")).info.num_dead == 10
    elif first_look == "letters":
        assert [letter.deliver_count for letter in (await broker.dead_letters.page("c"))[0]] == [2] * 10
    elif first_look == "dry run":
        assert (await broker.dead_letters.redrive_matching("c", dry_run=True)).redriven == 10
    elif first_look == "redrive":
        assert (await broker.dead_letters.redrive_matching("c")).redriven == 10
        assert await counts(LibraryApi(broker), "c") == (10, 3000, 0, 0)
        return
    elif first_look == "peek":
        assert [row.deliver_count for row in await broker.deliveries.peek("c", 1000)] == [2] * 1000
    else:
        assert [d.deliver_count for d in (await broker.next("c")).deliveries] == [2]
    given = 1 if first_look == "next" else 0
    assert await counts(LibraryApi(broker), "c") == (0, 3000, 10, given)


@pytest.mark.parametrize("fields", [{"ordering": "key"}, {"filters": Filters(provider="crm")}], ids=["key", "filtered"])
async def test_c28_so_it_is_of_other_kinds_of_consumers(broker: Broker, clock: Clock, fields: Json) -> None:
    await ten_exhausted_after_3000(broker, clock, max_deliver=2, **fields)
    assert await counts(LibraryApi(broker), "c") == (0, 3000, 10, 0)


async def test_c28_so_it_is_where_max_deliver_is_lowered_then(broker: Broker, clock: Clock) -> None:
    await ten_exhausted_after_3000(broker, clock)
    assert await counts(LibraryApi(broker), "c") == (0, 3010, 0, 10)
    await broker.consumers.update("c", ConsumerChanges(max_deliver=2))
    assert await counts(LibraryApi(broker), "c") == (0, 3000, 10, 0)
    await broker.consumers.update("c", ConsumerChanges(max_deliver=1))
    assert await counts(LibraryApi(broker), "c") == (0, 0, 3010, 0)


async def test_c28_a_lowered_max_deliver_finds_what_waits_for_a_retry_after_3000_others(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_ack_pending=10_000))
    await fill(broker, 3010)
    out = await take_out(broker, 3010)
    await broker.nack("c", [Nack(token, 0) for token in out[3000:]])
    twice = (await broker.next("c", 10)).deliveries
    await broker.nack("c", [Nack(d.ack_token, 0) for d in twice])
    for some in by_thousands(out[:3000]):
        await broker.nack("c", [Nack(token, 0) for token in some])
    assert await counts(LibraryApi(broker), "c") == (3010, 0, 0, 0)
    await broker.consumers.update("c", ConsumerChanges(max_deliver=2))
    assert await counts(LibraryApi(broker), "c") == (3000, 0, 10, 0)


async def test_c28_extended_first_deliveries_are_not_redelivered_ones_however_many(broker: Broker, clock: Clock) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ack_wait_ms=60_000, max_ack_pending=10_000))
    await fill(broker, 3010)
    out = await take_out(broker, 3010)
    await broker.nack("c", [Nack(token, 0) for token in out[:10]])
    assert len((await broker.next("c", 10)).deliveries) == 10
    for some in by_thousands(out[10:]):
        await broker.extend("c", some)
    assert await counts(LibraryApi(broker), "c") == (0, 3010, 0, 10)
    await clock.advance(60_000)
    assert await counts(LibraryApi(broker), "c") == (0, 3010, 0, 10)


async def test_c28_released_deliveries_are_not_redelivered_ones_however_many(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_ack_pending=10_000))
    await fill(broker, 2000)
    for some in by_thousands(await take_out(broker, 2000)):
        await broker.nack("c", [Nack(token, 0, "release") for token in some])
    await take_out(broker, 2000)
    assert await counts(LibraryApi(broker), "c") == (0, 2000, 0, 0)


@pytest.mark.parametrize("count", [20, 500])
async def test_c28_redelivered_ones_that_a_plain_client_acks_are_not_counted(broker: Broker, store: Store, count: int) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_ack_pending=10_000))
    await fill(broker, count)
    for some in by_thousands(await take_out(broker, count)):
        await broker.nack("c", [Nack(token, 0) for token in some])
    ids = [token.partition(".")[0] for token in await take_out(broker, count)]
    assert await plain_ack(store, "c", *ids[:10]) == 10
    assert await counts(LibraryApi(broker), "c") == (0, count - 10, 0, count - 10)
