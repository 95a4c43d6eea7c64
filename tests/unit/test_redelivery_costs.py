"""What it costs Redis, in commands, to redeliver or bury what a worker left: few claims for many messages."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker import Broker, Nack, Store
from broker.store.embedded import Embedded
from tests.support.clock import advance, shifted_scripts
from tests.unit.counting import KINDS, expired, once

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shifted(redis_server: Embedded, store: Store) -> AsyncIterator[Broker]:
    """A broker with the clock of the tests, which costs some commands of its own."""
    async with Broker(Store.from_url(redis_server.url), scripts=shifted_scripts()) as broker:
        yield broker


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("fields", KINDS, ids=["plain", "records", "filtered", "key"])
async def test_redelivering_1000_of_a_worker_that_died_costs_one_claim(
    shifted: Broker, store: Store, fields: dict[str, Any], times: int
) -> None:
    await expired(shifted, store, fields, 1000, times)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) == 1
    assert found["xpending"] < (150 if fields.get("ordering") else 10)  # once a second some 100 keys are looked at for plain XACKs
    assert found["zadd"] < 10
    assert await taken(shifted) == [times + 1] * 1000


async def test_redelivering_1000_is_one_claim_where_some_between_them_were_acked(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {}, 1000, 0)
    given = (await shifted.next("c", 1000)).deliveries
    await shifted.ack("c", [d.ack_token for d in given[::2]])
    await advance(store, 60_000)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert (found["xautoclaim"], found.get("xclaim", 0)) == (1, 0)
    assert await taken(shifted) == [2] * 500


@pytest.mark.parametrize("what", ["extended", "nacked"])
async def test_redelivering_1000_is_a_claim_a_delivery_number_where_some_were_extended_or_nacked(
    shifted: Broker, store: Store, what: str
) -> None:
    await expired(shifted, store, {}, 1000, 0)
    given = [d.ack_token for d in (await shifted.next("c", 1000)).deliveries]
    if what == "extended":
        await shifted.extend("c", given[::7])
    else:
        await shifted.nack("c", [Nack(token, 0) for token in given[::7]])
        await shifted.next("c", 100)
    await advance(store, 60_000)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) <= 2
    assert found["xpending"] < 2 * 143 + 20  # 143 stand apart
    assert len(await taken(shifted)) == 1000


async def test_delivering_1000_that_were_nacked_costs_a_claim_or_two(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {}, 1000, 0)
    await shifted.nack("c", [Nack(d.ack_token, 0) for d in (await shifted.next("c", 1000)).deliveries])
    found = await once(store, lambda: shifted.next("c", 1000))
    assert (found["xclaim"], found.get("xautoclaim", 0)) == (1, 0)
    assert await taken(shifted) == [2] * 1000


async def test_a_batch_of_10_of_1000_expired_ones_looks_at_few(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {}, 1000)
    found = await once(store, lambda: shifted.next("c", 10))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) == 1
    assert found["xpending"] < 10
    assert await taken(shifted) == [2] * 10 + [1] * 990


async def test_1000_that_die_by_expiry_are_claimed_by_none(shifted: Broker, store: Store) -> None:
    await expired(shifted, store, {"max_deliver": 1}, 1000)
    found = await once(store, lambda: shifted.next("c", 1000))
    assert found.get("xclaim", 0) + found.get("xautoclaim", 0) == 0
    assert found["xack"] < 10
    assert (await shifted.consumers.get("c")).info.num_dead == 1000


async def taken(broker: Broker) -> list[int]:
    """The deliver counts of what is out."""
    rows, _ = await broker.deliveries.pending("c", limit=1000)
    return [row.deliver_count for row in rows]
