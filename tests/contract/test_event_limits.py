"""Which events a stream remembers and keeps (C10, C12)."""

import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.helpers import body, counts, data, event, plain_add, publish_each, statuses
from tests.support.api import Api

pytestmark = pytest.mark.anyio


# Events: the dedupe window


@pytest.mark.parametrize(("window", "passed", "status"), [(5000, 4000, "duplicate"), (5000, 5000, "created"), (5000, 60000, "created")])
async def test_c12_an_event_id_is_remembered_for_the_window(api: Api, clock: Clock, window: int, passed: int, status: str) -> None:
    await api.create_stream(name="s", kind="events", dedupe_window_ms=window)
    await api.publish("s", [event(1, id="x")])
    await clock.advance(passed)
    assert statuses(await api.publish("s", [event(2, id="x")])) == [status]


async def test_c12_each_id_has_a_window_of_its_own(api: Api, clock: Clock) -> None:
    await api.create_stream(name="s", kind="events", dedupe_window_ms=10_000)
    await api.publish("s", [event(1, id="a")])
    await clock.advance(9000)
    await api.publish("s", [event(1, id="b")])
    await clock.advance(2000)
    assert statuses(await api.publish("s", [event(2, id="a"), event(2, id="b")])) == ["created", "duplicate"]
    await clock.advance(6500)
    assert statuses(await api.publish("s", [event(3, id="a"), event(3, id="b")])) == ["duplicate", "duplicate"]
    await clock.advance(2000)
    assert statuses(await api.publish("s", [event(4, id="a"), event(4, id="b")])) == ["duplicate", "created"]


async def test_c12_a_window_of_0_turns_it_off(api: Api) -> None:
    await api.create_stream(name="s", kind="events", dedupe_window_ms=0)
    assert statuses(await api.publish("s", [event(1, id="x"), event(1, id="x")])) == ["created", "created"]
    assert [body(row)["id"] for row in (await api.messages("s"))["data"]] == ["x", "x"]


async def test_c12_events_without_an_id_are_never_duplicates(api: Api) -> None:
    answer = await api.publish("events", [event(1), event(1)])
    assert statuses(answer) == ["created", "created"]
    assert len({row["id"] for row in answer["data"]}) == 2


async def test_c12_an_id_is_remembered_in_its_own_stream(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    await api.publish("events", [event(1, id="x")])
    assert statuses(await api.publish("s", [event(1, id="x")])) == ["created"]


# Limits


async def test_max_messages_drops_the_oldest(api: Api) -> None:
    await api.create_stream(name="s", kind="events", max_messages=3)
    await publish_each(api, [1, 2], "s")
    await publish_each(api, [3, 4, 5], "s")
    assert data(await api.messages("s")) == [3, 4, 5]
    assert (await api.get_stream("s"))["info"]["messages"] == 3
    assert (await api.publish("s", [event(i) for i in range(10)]))["info"] == {"created": 10}
    assert data(await api.messages("s")) == [7, 8, 9]


async def test_max_age_drops_what_is_older(api: Api, clock: Clock, store: Store) -> None:
    await api.create_stream(name="s", kind="events", max_age_ms=60_000)
    await publish_each(api, [1, 2], "s")
    assert data(await api.messages("s")) == [1, 2]
    await clock.advance(59_000)
    assert data(await api.messages("s")) == [1, 2]
    await clock.advance(1_001)
    seconds, _ = await store.call("TIME")
    await plain_add(store, "collection_id", "a:b", "data", "3", at=f"{(int(seconds) + 60) * 1000}-0", stream="s")
    assert data(await api.messages("s")) == [3]
    assert (await api.get_stream("s"))["info"]["messages"] == 1


async def test_max_age_may_leave_nothing(api: Api, clock: Clock) -> None:
    await api.create_stream(name="s", kind="events", max_age_ms=1000)
    await api.create_consumer(name="c", stream_id="s")
    await api.create_consumer(name="f", stream_id="s", filters={"provider": "crm"})
    await publish_each(api, [1, 2], "s")
    await clock.advance(2000)
    assert await api.messages("s") == {"data": [], "next": None}
    info = (await api.get_stream("s"))["info"]
    assert (info["messages"], info["first_id"], info["last_id"]) == (0, None, None)
    assert [await counts(api, "c"), await counts(api, "f")] == [(0, 0, 0, 0)] * 2
