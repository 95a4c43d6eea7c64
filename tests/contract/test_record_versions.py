"""Records that are updated while they wait or are out, and late consumers (C30, C31, C32)."""

from typing import Any

import pytest

from tests.conftest import Clock
from tests.contract.delivering import FILTERS, NOTHING, WAIT, consumer
from tests.contract.helpers import (
    counted,
    counts,
    event,
    info,
    publish_each,
    record,
    take,
    tokens,
)
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("filters", FILTERS)
async def test_c30_a_record_updated_while_it_is_out_reappears(api: Api, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record("a", 1), record("b", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    assert await counts(api, "c") == (2, 1, 0, 0)
    assert await api.ack("c", old) == {"acked": 1, "stale": []}
    assert await counts(api, "c") == (2, 0, 0, 0)
    batch = await api.next("c", 9)
    assert [(d["record"]["id"], d["record"]["data"], d["deliver_count"]) for d in batch["data"]] == [("b", 1, 1), ("a", 2, 1)]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("delay", [None, 0, 5000])
async def test_c30_a_nack_of_the_old_version_drops_it(api: Api, clock: Clock, filters: Json, delay: int | None) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    assert await api.nack("c", old, delay_ms=delay) == {"nacked": 1, "stale": []}
    assert await counts(api, "c") == (1, 0, 0, 0)
    await clock.advance(10_000)
    assert counted(await api.next("c", 9)) == [(2, 1)]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("max_deliver", [-1, 1])
async def test_c30_an_expiry_of_the_old_version_drops_it(api: Api, clock: Clock, filters: Json, max_deliver: int) -> None:
    await consumer(api, stream_id="records", filters=filters, max_deliver=max_deliver)
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(2, 1)], info(0, 1))
    assert await api.ack("c", old) == {"acked": 0, "stale": old}
    assert (await counts(api, "c"))[1:3] == (1, 0)


async def test_c30_the_last_nack_of_an_old_version_leaves_no_dead_letter(api: Api) -> None:
    await consumer(api, stream_id="records", max_deliver=1)
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    await api.nack("c", old)
    assert await counts(api, "c") == (1, 0, 0, 0)
    assert await take(api, "c") == [2]


async def test_c30_both_versions_may_be_out_each_with_its_token(api: Api) -> None:
    await consumer(api, stream_id="records")
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2)])
    new = tokens(await api.next("c"))
    assert await counts(api, "c") == (0, 2, 0, 0)
    assert await api.nack("c", new) == {"nacked": 1, "stale": []}
    assert await api.ack("c", old) == {"acked": 1, "stale": []}
    assert counted(await api.next("c", 9)) == [(2, 2)]


async def test_c21_a_superseded_row_that_makes_room_changes_no_order(api: Api, clock: Clock) -> None:
    await consumer(api, stream_id="records", max_ack_pending=2, ack_wait_ms=600)
    await api.publish("records", [record(name, 1) for name in "abc"])
    first = await api.next("c", 2)
    await api.nack("c", tokens(first)[:1], delay_ms=300)
    await api.next("c", 1)
    await api.publish("records", [record("b", 2)])
    await clock.advance(900)
    assert [row["record"]["id"] for row in (await api.next("c", 2))["data"]] == ["a", "c"]


async def test_c30_a_version_that_changes_nothing_does_not_reappear(api: Api) -> None:
    await consumer(api, stream_id="records")
    await api.publish("records", [record("a", 1)])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 1)])
    assert await counts(api, "c") == (0, 1, 0, 0)
    await api.ack("c", old)
    assert await api.next("c") == NOTHING


async def test_c30_a_record_that_leaves_the_filter_while_it_is_out(api: Api) -> None:
    await consumer(api, stream_id="records", filters={"provider": "crm"})
    await api.publish("records", [record("a", 1, "crm:x")])
    old = tokens(await api.next("c"))
    await api.publish("records", [record("a", 2, "erp:x")])
    await api.nack("c", old)
    assert await api.next("c") == NOTHING


@pytest.mark.parametrize("filters", FILTERS)
async def test_c31_a_record_updated_while_it_waits_is_delivered_once(api: Api, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    for version in (1, 2, 3):
        await api.publish("records", [record("a", version), record("b", version)])
    assert await counts(api, "c") == (2, 0, 0, 0)
    assert await take(api, "c") == [3, 3]
    assert await api.next("c") == NOTHING


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("delay", [0, 5000])
async def test_c31_a_record_updated_while_it_waits_for_a_retry_is_delivered_once(api: Api, clock: Clock, filters: Json, delay: int) -> None:
    await consumer(api, stream_id="records", filters=filters)
    await api.publish("records", [record("a", 1)])
    await api.nack("c", tokens(await api.next("c")), delay_ms=delay)
    await api.publish("records", [record("a", 2)])
    assert await counts(api, "c") == (1, 0, 0, 0)
    batch = await api.next("c", 9)
    assert (counted(batch), batch["info"]) == ([(2, 1)], info(0, 1))
    await clock.advance(5000)
    await api.ack("c", tokens(batch))
    assert await api.next("c") == {"data": [], "info": info(0, 0)}


@pytest.mark.parametrize("filters", FILTERS)
async def test_c31_a_worker_that_acks_everything_ends_with_the_newest_versions(api: Api, clock: Clock, filters: Json) -> None:
    await consumer(api, stream_id="records", filters=filters)
    seen: dict[str, tuple[Any, bool]] = {}

    def store_all(batch: Json) -> None:
        for delivery in batch["data"]:
            found = delivery["record"]
            seen[found["id"]] = (found["data"], found["deleted"])

    for version in range(1, 7):
        await api.publish("records", [record(str(i), version) for i in range(version)])
        batch = await api.next("c", 2)
        if version % 3 == 0:
            await api.nack("c", tokens(batch))
        elif version % 3 == 1:
            await clock.advance(WAIT)
        else:
            store_all(batch)
            await api.ack("c", tokens(batch))
    await api.publish("records", [{"id": "0", "collection_id": "crm:contacts", "deleted": True}])
    await clock.advance(WAIT)
    batch = await api.next("c", 100)
    store_all(batch)
    await api.ack("c", tokens(batch))
    assert await api.next("c", 100) == NOTHING
    assert seen == {"0": (None, True)} | {str(i): (6, False) for i in range(1, 6)}


@pytest.mark.parametrize("filters", FILTERS)
async def test_c32_a_late_consumer_of_records_gets_what_an_early_one_would_hold(api: Api, filters: Json) -> None:
    await api.publish("records", [record(n, 1) for n in "abc"] + [record("x", 1, "erp:x")])
    await api.publish("records", [record("b", 2), {"id": "a", "collection_id": "crm:contacts", "deleted": True}])
    await consumer(api, stream_id="records", filters=filters)
    batch = await api.next("c", 9)
    found = [(d["record"]["id"], d["record"]["data"], d["record"]["deleted"]) for d in batch["data"]]
    expected = [("c", 1, False), ("x", 1, False), ("b", 2, False), ("a", None, True)]
    assert found == [row for row in expected if not filters or row[0] != "x"]
    assert batch["info"] == info(0, len(found))


@pytest.mark.parametrize("filters", FILTERS)
async def test_c32_a_late_consumer_of_events_gets_what_the_stream_holds(api: Api, filters: Json) -> None:
    await api.create_stream(name="s", kind="events", max_messages=4)
    await api.create_consumer(name="early", stream_id="s", filters=filters)
    for i in range(6):
        await api.publish("s", [event(i, "erp:x" if i == 3 else "crm:x")])
    await consumer(api, stream_id="s", filters=filters)
    assert await counts(api, "c") == await counts(api, "early")
    assert await take(api, "c") == await take(api, "early") == ([2, 4, 5] if filters else [2, 3, 4, 5])


@pytest.mark.parametrize("filters", FILTERS)
async def test_c32_a_late_consumer_of_a_long_stream_gets_all_of_it(api: Api, filters: Json) -> None:
    for start in range(0, 5000, 1000):
        await publish_each(api, list(range(start, start + 1000)))
    await consumer(api, filters=filters)
    seen: list[Any] = []
    for _ in range(5):
        seen += await take(api, "c", 1000)
    assert seen == list(range(5000))
