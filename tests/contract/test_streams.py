"""Streams."""

import httpx
import pytest

from broker import Broker, Store
from tests.conftest import Clock
from tests.contract.helpers import TIME, data, event, publish_each, record, take
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

EMPTY = {"messages": 0, "bytes": 0, "first_id": None, "last_id": None, "consumers": 0}


def fixed(stream: Json) -> Json:
    """A stream without its times."""
    assert TIME.fullmatch(stream["created_at"])
    assert TIME.fullmatch(stream["updated_at"])
    return {k: v for k, v in stream.items() if k not in ("created_at", "updated_at")}


# C8


async def test_c8_two_streams_exist_from_the_first_start(api: Api) -> None:
    page = await api.list_streams()
    assert [(s["id"], s["kind"], s["info"]) for s in page["data"]] == [("events", "events", EMPTY), ("records", "records", EMPTY)]
    assert page["next"] is None


async def test_c8_a_later_start_does_not_bring_a_deleted_one_back(api: Api, broker: Broker) -> None:
    await api.delete_stream("records")
    await broker.start()
    assert [s["id"] for s in (await api.list_streams())["data"]] == ["events"]


# C9


async def test_c9_creating_answers_201_then_200_then_409(http: httpx.AsyncClient) -> None:
    body = {"name": "s", "kind": "events", "max_messages": 5, "metadata": {"a": 1, "b": 2}}
    first = await http.post("/v1/streams", json=body)
    again = await http.post("/v1/streams", json={"metadata": {"b": 2, "a": 1}, "dedupe_window_ms": 120000} | body)
    other = await http.post("/v1/streams", json=body | {"max_messages": 6})
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.json() == first.json()
    assert other.json()["code"] == "STREAM_EXISTS"
    assert (await http.get("/v1/streams/s")).json() == first.json()


async def test_c9_any_other_field_is_a_conflict(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    others: list[Json] = [{"kind": "records"}, {"max_age_ms": 1000}, {"dedupe_window_ms": 0}, {"metadata": {"a": 1}}]
    for other in others:
        with pytest.raises(Refused) as refusal:
            await api.create_stream(**{"name": "s", "kind": "events"} | other)
        assert (refusal.value.status, refusal.value.code) == (409, "STREAM_EXISTS"), other


async def test_c9_creating_again_leaves_the_messages(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    await publish_each(api, [1], "s")
    assert (await api.create_stream(name="s", kind="events"))["info"]["messages"] == 1
    assert data(await api.messages("s")) == [1]


# C10


async def test_c10_a_stream_shows_its_defaults(api: Api) -> None:
    created = await api.create_stream(name="s")
    assert fixed(created) == {
        "id": "s", "name": "s", "kind": "records", "max_messages": None, "max_age_ms": None, "dedupe_window_ms": 120000,
        "metadata": {}, "info": EMPTY,
    }  # fmt: skip
    assert created["created_at"] == created["updated_at"]
    assert await api.get_stream("s") == created


async def test_c10_a_stream_shows_its_fields(api: Api) -> None:
    fields = {
        "name": "s", "kind": "events", "max_messages": 10, "max_age_ms": 1000, "dedupe_window_ms": 0, "metadata": {"ä": [1, {"b": None}]}
    }  # fmt: skip
    assert fixed(await api.create_stream(**fields)) == fields | {"id": "s", "info": EMPTY}


async def test_c10_info_tells_what_the_stream_holds(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    ids = await publish_each(api, [1, 2, 3], "s")
    await api.create_consumer(name="c", stream_id="s")
    info = (await api.get_stream("s"))["info"]
    assert info.pop("bytes") > 0
    assert info == {"messages": 3, "first_id": ids[0], "last_id": ids[2], "consumers": 1}


async def test_c10_a_record_stream_counts_each_record_once(api: Api) -> None:
    await api.publish("records", [record("a", 1), record("b", 1)])
    updated = await api.publish("records", [record("a", 2)])
    info = (await api.get_stream("records"))["info"]
    assert (info["messages"], info["last_id"]) == (2, updated["data"][0]["message_id"])


OUT_OF_RANGE: list[Json] = [
    {"kind": "queues"}, {"kind": "records", "max_messages": 5}, {"kind": "records", "max_age_ms": 5000},
    {"kind": "events", "max_messages": 0}, {"kind": "events", "max_messages": -1}, {"kind": "events", "max_messages": "5"},
    {"kind": "events", "max_messages": True}, {"kind": "events", "max_age_ms": 999}, {"kind": "events", "dedupe_window_ms": -1},
    {"kind": "events", "dedupe_window_ms": 86400001}, {"metadata": []}, {"metadata": {"a": "x" * 4096}},
]  # fmt: skip


async def test_c10_a_field_out_of_its_range_is_named(api: Api) -> None:
    for fields in OUT_OF_RANGE:
        with pytest.raises(Refused) as refusal:
            await api.create_stream(**{"name": "s"} | fields)
        assert (refusal.value.status, list(refusal.value.errors)) == (422, [list(fields)[-1]]), fields
        with pytest.raises(Refused, match="STREAM_NOT_FOUND"):
            await api.get_stream("s")


async def test_c10_a_field_at_its_bound(api: Api) -> None:
    bounds = {"max_messages": 1, "max_age_ms": 1000, "dedupe_window_ms": 86400000, "metadata": {"a": "x" * 4000}}
    created = await api.create_stream(name="s", kind="events", **bounds)
    assert {name: created[name] for name in bounds} == bounds


async def test_c10_a_change_touches_the_named_fields_alone(api: Api, clock: Clock) -> None:
    created = await api.create_stream(name="s", kind="events", max_messages=5, metadata={"a": 1})
    await clock.advance(5000)
    changed = await api.update_stream("s", max_age_ms=2000)
    assert fixed(changed) == fixed(created) | {"max_age_ms": 2000}
    assert changed["created_at"] == created["created_at"]
    assert changed["updated_at"] > created["updated_at"]
    assert await api.get_stream("s") == changed


async def test_c10_a_limit_may_be_taken_away(api: Api) -> None:
    await api.create_stream(name="s", kind="events", max_messages=2)
    assert (await api.update_stream("s", max_messages=None))["max_messages"] is None
    await publish_each(api, [1, 2, 3], "s")
    assert data(await api.messages("s")) == [1, 2, 3]


async def test_c10_a_tighter_limit_drops_what_is_over_it(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    await publish_each(api, [1, 2, 3], "s")
    assert (await api.update_stream("s", max_messages=2))["info"]["messages"] == 2
    assert data(await api.messages("s")) == [2, 3]


@pytest.mark.parametrize("fields", [{"kind": "records"}, {"max_messages": 0}, {"metadata": {"a": "x" * 4096}}])
async def test_c10_a_wrong_change_is_refused(api: Api, fields: Json) -> None:
    created = await api.create_stream(name="s", kind="events")
    with pytest.raises(Refused) as refusal:
        await api.update_stream("s", **fields)
    assert (refusal.value.status, list(refusal.value.errors)) == (422, list(fields))
    assert await api.get_stream("s") == created


async def test_c10_a_fixed_field_may_be_named_with_the_value_that_it_has(http: httpx.AsyncClient) -> None:
    await http.post("/v1/streams", json={"name": "s", "kind": "events"})
    changed = await http.patch("/v1/streams/s", json={"name": "s", "kind": "events", "metadata": {"a": 1}})
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"a": 1})
    refusal = await http.patch("/v1/streams/s", json={"name": "t", "metadata": {"a": 2}})
    assert (refusal.status_code, list(refusal.json()["validation_errors"])) == (422, ["name"])
    assert (await http.get("/v1/streams/s")).json() == changed.json()


async def test_c10_a_record_stream_takes_no_limit_later(api: Api) -> None:
    with pytest.raises(Refused) as refusal:
        await api.update_stream("records", max_messages=5)
    assert (refusal.value.status, list(refusal.value.errors)) == (422, ["max_messages"])


# C11


async def test_c11_a_stream_with_consumers_is_deleted_only_by_force(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await publish_each(api, [1])
    with pytest.raises(Refused) as refusal:
        await api.delete_stream("events")
    assert (refusal.value.status, refusal.value.code) == (409, "STREAM_IN_USE")
    assert await take(api, "c") == [1]
    await api.delete_stream("events", force=True)
    for call in (api.get_stream("events"), api.messages("events"), api.publish("events", [event(1)])):
        with pytest.raises(Refused, match="404 STREAM_NOT_FOUND"):
            await call
    for name_call in (api.get_consumer("c"), api.next("c")):
        with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
            await name_call
    assert await api.list_consumers() == {"data": [], "next": None}


async def test_c11_without_consumers_it_is_deleted_at_once(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    await api.delete_consumer("c")
    await api.delete_stream("events")
    with pytest.raises(Refused, match="404 STREAM_NOT_FOUND"):
        await api.delete_stream("events")


async def test_c11_deleting_leaves_no_key(api: Api, store: Store) -> None:
    await api.create_stream(name="s", kind="events", max_messages=100)
    await api.create_consumer(name="c", stream_id="s", filters={"provider": "crm"}, max_deliver=2)
    await api.publish("s", [event(i, id=str(i)) for i in range(4)])
    batch = await api.next("c", 3)
    await api.nack("c", [batch["data"][0]["ack_token"]], delay_ms=1000)
    await api.delete_stream("s", force=True)
    kept = {key.decode() for key in await store.call("KEYS", "broker:{s}*")}
    assert kept <= {"broker:{s}:wake"}  # a notice to waiting calls, which Redis drops by itself
    assert all([await store.call("PTTL", key) > 0 for key in kept])


async def test_c11_a_stream_made_again_is_empty(api: Api) -> None:
    await api.publish("records", [record("a", 1)])
    await api.delete_stream("records")
    await api.create_stream(name="records", kind="events")
    assert await api.messages("records") == {"data": [], "next": None}
    assert (await api.publish("records", [event(7, id="a")]))["info"] == {"created": 1}
    await api.create_consumer(name="c")
    assert await take(api, "c") == [7]


@pytest.mark.parametrize("force", ["maybe", "2"])
async def test_c11_force_is_true_or_false(http: httpx.AsyncClient, force: str) -> None:
    reply = await http.delete(f"/v1/streams/events?force={force}")
    assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
    assert (await http.get("/v1/streams/events")).status_code == 200


async def test_c11_lists_are_paged_by_name(api: Api) -> None:
    for name in ("b", "a", "d", "c"):
        await api.create_stream(name=name)
    expected = ["a", "b", "c", "d", "events", "records"]
    for limit in (1, 2, 4, 5, 6, 1000):
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await api.list_streams(after=after, limit=limit)
            assert len(page["data"]) <= limit
            seen += [s["id"] for s in page["data"]]
            after = page["next"]
            if after is None:
                break
        assert seen == expected
