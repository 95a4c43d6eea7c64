"""Where a consumer starts, by its deliver policy."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.helpers import (
    counts,
    event,
    now_ms,
    plain_add,
    publish_each,
    record,
    take,
)
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

T0 = 1_700_000_000_000


async def entries(store: Store, *at: int) -> None:
    """Events whose times are given, in ms; their data are 1, 2, …"""
    for i, ms in enumerate(at):
        await plain_add(store, "collection_id", "crm:a", "data", str(i + 1), at=f"{ms}-{i}")


async def starts(api: Api, expected: dict[str, list[int]]) -> None:
    """The consumers, named by their policies, hold these messages."""
    for i, (policy, values) in enumerate(expected.items()):
        assert await counts(api, f"c{i}") == (len(values), 0, 0, 0), policy
        assert await take(api, f"c{i}") == values, policy
        assert await counts(api, f"c{i}") == (0, 0, 0, 0), policy


async def create_each(api: Api, stream: str, filters: Json, policies: Iterable[str]) -> None:
    for i, policy in enumerate(policies):
        await api.create_consumer(name=f"c{i}", stream_id=stream, deliver_policy=policy, filters=filters)


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_deliver_policy(api: Api, stream: str, filters: Json) -> None:
    expected = {"all": [1, 2, 3], "new": [3], "last": [2, 3], "1h": [1, 2, 3]}
    await api.publish(stream, [event(1, id="1"), event(2, id="2")])
    await create_each(api, stream, filters, expected)
    await api.publish(stream, [event(3, id="3")])
    await starts(api, expected)


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_deliver_policy_of_an_empty_stream(api: Api, stream: str, filters: Json) -> None:
    expected = {policy: [1, 2] for policy in ("all", "new", "last", "90s", "2026-01-31T12:00:00Z")}
    await create_each(api, stream, filters, expected)
    await api.publish(stream, [event(1, id="1"), event(2, id="2")])
    await starts(api, expected)


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_deliver_policy_last_is_the_last_that_matches(api: Api, stream: str) -> None:
    await api.publish(stream, [event(1, id="1"), event(2, id="2"), event(3, "erp:a", id="3")])
    await api.create_consumer(name="c", stream_id=stream, deliver_policy="last", filters={"provider": "crm"})
    await api.publish(stream, [event(4, "erp:a", id="4"), event(5, id="5")])
    assert await take(api, "c") == [2, 5]


async def test_deliver_policy_new_gets_records_that_are_updated_from_now(api: Api) -> None:
    await api.publish("records", [record("a", 1), record("b", 1)])
    await api.create_consumer(name="c", deliver_policy="new")
    await api.publish("records", [record("a", 1), record("b", 2)])
    assert await take(api, "c") == [2]


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
async def test_deliver_policy_of_a_time(api: Api, store: Store, filters: Json) -> None:
    expected = {
        "2023-11-14T22:13:20Z": [2, 3, 4], "2023-11-14T22:13:20.000Z": [2, 3, 4], "2023-11-14T22:13:20.001Z": [4],
        "2023-11-14T22:13:19.999Z": [1, 2, 3, 4], "2023-11-14T23:13:20+01:00": [2, 3, 4], "1970-01-01T00:00:00Z": [1, 2, 3, 4],
        "2099-01-01T00:00:00Z": [],
    }  # fmt: skip
    await entries(store, T0 - 1, T0, T0, T0 + 1000)
    await create_each(api, "events", filters, expected)
    await starts(api, expected)


@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}])
async def test_deliver_policy_of_a_window(api: Api, store: Store, filters: Json) -> None:
    expected = {"90s": [4], "15m": [3, 4], "1h": [3, 4], "7d": [2, 3, 4], "30d": [1, 2, 3, 4]}
    now = await now_ms(store)
    await entries(store, now - 20 * 86_400_000, now - 2 * 3_600_000, now - 10 * 60_000, now)
    await create_each(api, "events", filters, expected)
    await starts(api, expected)


async def test_deliver_policy_of_a_window_goes_by_redis_clock(api: Api, clock: Clock) -> None:
    await publish_each(api, [1, 2])
    await clock.advance(120_000)
    await api.create_consumer(name="short", stream_id="events", deliver_policy="90s")
    await api.create_consumer(name="long", stream_id="events", deliver_policy="5m")
    assert [await take(api, "short"), await take(api, "long")] == [[], [1, 2]]


@pytest.mark.parametrize("fields", [{}, {"ordering": "key"}, {"filters": {"provider": "crm"}}], ids=["none", "key", "filtered"])
async def test_deliver_policy_of_a_time_yet_to_come_counts_nothing_before_it(api: Api, fields: Json) -> None:
    await publish_each(api, [1])
    await api.create_consumer(name="c", stream_id="events", deliver_policy="2999-01-01T00:00:00Z", **fields)
    for value in (2, 3):
        await publish_each(api, [value])
        assert await counts(api, "c") == (0, 0, 0, 0)
        assert (await api.next("c", 1))["info"] == {"num_pending": 0, "num_ack_pending": 0}
        assert await counts(api, "c") == (0, 0, 0, 0)


async def test_deliver_policy_of_a_time_is_kept_as_given(api: Api) -> None:
    given = "2026-01-31T12:00:00+02:00"
    assert (await api.create_consumer(name="c", deliver_policy=given))["deliver_policy"] == given
    later = datetime.now(UTC).isoformat()
    with pytest.raises(Refused, match="422"):
        await api.update_consumer("c", deliver_policy=later)
