"""The consumer as an object: its fields, changes and lists (C18)."""

import json

import httpx
import pytest

from tests.conftest import Clock
from tests.contract.helpers import (
    TIME,
)
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio

DEFAULTS: Json = {
    "stream_id": "records", "ack_wait_ms": 30000, "max_deliver": -1, "max_ack_pending": 1000, "max_waiting": 512, "deliver_policy": "all",
    "filters": {}, "ordering": "none", "backoff_ms": [], "metadata": {},
}  # fmt: skip
FIELDS: Json = {
    "stream_id": "events", "ack_wait_ms": 500, "max_deliver": 1000, "max_ack_pending": 1000000, "max_waiting": 10000,
    "deliver_policy": "new", "filters": {"provider": "crm", "collection_id": ["crm:*", "x"], "resource_id": "*"}, "ordering": "none",
    "backoff_ms": [0, 604800000], "metadata": {"team": "a", "n": [1, {"x": None}]},
}  # fmt: skip


def fixed(consumer: Json) -> Json:
    """A consumer without its times."""
    assert TIME.fullmatch(consumer["created_at"])
    assert TIME.fullmatch(consumer["updated_at"])
    return {k: v for k, v in consumer.items() if k not in ("created_at", "updated_at")}


# C18: the object


async def test_c18_a_consumer_shows_its_defaults(api: Api) -> None:
    created = await api.create_consumer(name="c")
    assert fixed(created) == DEFAULTS | {"id": "c", "name": "c"}
    assert created["created_at"] == created["updated_at"]
    nothing: Json = dict.fromkeys(["num_pending", "num_ack_pending", "num_dead", "num_redelivered", "num_retrying", "num_blocked"], 0)
    nothing |= {"oldest_pending_at": None, "oldest_ack_pending_at": None, "idle_because": "empty"}
    assert await api.get_consumer("c") == created | {"info": nothing}


async def test_c18_a_consumer_shows_its_fields(api: Api) -> None:
    assert fixed(await api.create_consumer(name="c", **FIELDS)) == FIELDS | {"id": "c", "name": "c"}


async def test_c18_a_name_is_made_where_none_is_given(api: Api) -> None:
    made = [await api.create_consumer() for _ in range(2)]
    assert made[0]["id"] == made[0]["name"]
    assert made[0]["id"] != made[1]["id"]
    assert (await api.get_consumer(made[0]["id"]))["stream_id"] == "records"


async def test_c18_ack_wait_is_an_alias(api: Api) -> None:
    assert (await api.create_consumer(name="c", ack_wait=1000))["ack_wait_ms"] == 1000
    changed = await api.update_consumer("c", ack_wait=2000)
    assert changed["ack_wait_ms"] == 2000
    assert "ack_wait" not in changed


async def test_c18_sync_id_is_an_alias_of_resource_id(api: Api) -> None:
    assert (await api.create_consumer(name="c", filters={"sync_id": "s"}))["filters"] == {"resource_id": "s"}


OUT_OF_RANGE: list[Json] = [
    {"stream_id": "none"}, {"stream_id": ""}, {"stream_id": 7}, {"ack_wait_ms": 499}, {"ack_wait_ms": 43200001}, {"ack_wait": 499},
    {"ack_wait_ms": "1000"}, {"max_deliver": 0}, {"max_deliver": -2}, {"max_deliver": 1001}, {"max_deliver": True},
    {"max_ack_pending": 0}, {"max_ack_pending": 1000001}, {"max_waiting": 0}, {"max_waiting": 10001}, {"backoff_ms": [-1]},
    {"backoff_ms": [604800001]}, {"backoff_ms": 5}, {"backoff_ms": ["5"]}, {"ordering": "fifo"}, {"metadata": []},
    {"metadata": {"a": "x" * 4096}}, {"filters": []}, {"filters": {"provider": 7}}, {"filters": {"provider": ["a", None]}},
    {"filters": {"colour": "a"}}, {"deliver_policy": "some"}, {"deliver_policy": ""}, {"deliver_policy": "5"},
    {"deliver_policy": "5w"}, {"deliver_policy": "-5m"}, {"deliver_policy": "1.5h"}, {"deliver_policy": "2026-01-01"},
    {"deliver_policy": "2026-01-01T00:00:00"}, {"deliver_policy": "2026-02-30T00:00:00Z"}, {"deliver_policy": 5},
]  # fmt: skip


async def test_c18_a_field_out_of_its_range_is_named(api: Api) -> None:
    for fields in OUT_OF_RANGE:
        with pytest.raises(Refused) as refusal:
            await api.create_consumer(**{"name": "c"} | fields)
        assert (refusal.value.status, refusal.value.code) == (422, "VALIDATION_FAILED"), fields
        assert [path.partition("[")[0].partition(".")[0] for path in refusal.value.errors] == [next(iter(fields))]
        with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
            await api.get_consumer("c")
        assert (await api.list_consumers())["data"] == []


async def test_c18_a_field_at_its_bound(api: Api) -> None:
    bounds: Json = {"ack_wait_ms": 43200000, "max_deliver": 1, "max_ack_pending": 1, "max_waiting": 1, "metadata": {"a": "x" * 4000}}
    created = await api.create_consumer(name="c", **bounds)
    assert {name: created[name] for name in bounds} == bounds


# C18: changing


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_c18_a_change_touches_the_named_fields_alone(http: httpx.AsyncClient, clock: Clock, method: str) -> None:
    created = (await http.post("/v1/http-consumers", json={"name": "c"} | FIELDS)).json()
    await clock.advance(5000)
    changes = {"ack_wait_ms": 1000, "max_deliver": 3, "max_ack_pending": 7, "max_waiting": 8, "backoff_ms": [9], "metadata": {"x": 1}}
    state = created
    for name, value in changes.items():
        changed = (await http.request(method, "/v1/http-consumers/c", json={name: value})).json()
        assert fixed(changed) == fixed(state) | {name: value}
        assert changed["created_at"] == created["created_at"]
        assert changed["updated_at"] > created["updated_at"]
        state = changed
    shown = (await http.get("/v1/http-consumers/c")).json()
    del shown["info"]
    assert shown == state


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "change",
    [
        {"name": "d"}, {"stream_id": "records"}, {"deliver_policy": "all"}, {"filters": {}}, {"filters": {"provider": "x"}},
        {"ordering": "key"},
    ],
    ids=lambda change: json.dumps(change),
)  # fmt: skip
async def test_c18_a_fixed_field_with_another_value_is_refused(http: httpx.AsyncClient, method: str, change: Json) -> None:
    await http.post("/v1/http-consumers", json={"name": "c"} | FIELDS)
    before = (await http.get("/v1/http-consumers/c")).json()
    reply = await http.request(method, "/v1/http-consumers/c", json=change | {"max_deliver": 7})
    assert (reply.status_code, list(reply.json()["validation_errors"])) == (422, list(change))
    assert (await http.get("/v1/http-consumers/c")).json() == before


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_c18_the_object_itself_may_be_sent_back(http: httpx.AsyncClient, method: str) -> None:
    created = (await http.post("/v1/http-consumers", json={"name": "c"} | FIELDS)).json()
    given = {"name": "c"} | FIELDS | {"max_deliver": 9}
    reply = await http.request(method, "/v1/http-consumers/c", json=given)
    assert (reply.status_code, fixed(reply.json())) == (200, fixed(created) | {"max_deliver": 9})


@pytest.mark.parametrize("change", [{"max_deliver": 0}, {"ack_wait_ms": 499}, {"backoff_ms": [-1]}, {"metadata": {"a": "x" * 4096}}])
async def test_c18_a_wrong_change_is_refused_whole(api: Api, change: Json) -> None:
    await api.create_consumer(name="c", **FIELDS)
    before = await api.get_consumer("c")
    with pytest.raises(Refused) as refusal:
        await api.update_consumer("c", max_waiting=5, **change)
    assert (refusal.value.status, [path.partition("[")[0] for path in refusal.value.errors]) == (422, list(change))
    assert await api.get_consumer("c") == before


async def test_c18_a_change_of_what_is_not_there(api: Api) -> None:
    with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
        await api.update_consumer("c", max_deliver=5)
    with pytest.raises(Refused, match="404 CONSUMER_NOT_FOUND"):
        await api.delete_consumer("c")


# C18: lists


async def test_c18_lists_are_paged_by_name(api: Api) -> None:
    for name in ("b", "a", "d", "c"):
        await api.create_consumer(name=name)
    for limit in (1, 2, 3, 4, 5):
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await api.list_consumers(after=after, limit=limit)
            assert len(page["data"]) <= limit
            seen += [c["id"] for c in page["data"]]
            after = page["next"]
            if after is None:
                break
        assert seen == ["a", "b", "c", "d"]


async def test_c18_a_list_shows_the_objects(api: Api) -> None:
    created = [await api.create_consumer(name=name, **FIELDS) for name in "ab"]
    assert await api.list_consumers() == {"data": created, "next": None}


async def test_c18_a_list_may_be_of_one_stream(api: Api) -> None:
    await api.create_consumer(name="a", stream_id="events")
    await api.create_consumer(name="b", stream_id="records")
    assert [c["id"] for c in (await api.list_consumers(stream_id="events"))["data"]] == ["a"]
    assert [c["id"] for c in (await api.list_consumers(stream_id="none"))["data"]] == []


METADATA: dict[str, Json] = {"a": {"team": "x", "n": 1}, "b": {"team": "x", "deep": {"k": 1, "l": 2}}, "c": {"null": None}}
CONTAINING: list[tuple[Json, list[str]]] = [
    ({}, ["a", "b", "c"]), ({"team": "x"}, ["a", "b"]), ({"team": "x", "n": 1}, ["a"]), ({"team": "none"}, []), ({"n": "1"}, []),
    ({"deep": {"k": 1}}, ["b"]), ({"deep": {"k": 1, "z": 1}}, []), ({"other": None}, []), ({"null": None}, ["c"]), ({"n": True}, []),
]  # fmt: skip


async def test_c18_a_list_may_be_of_what_contains_metadata(http: httpx.AsyncClient) -> None:
    for name, value in METADATA.items():
        await http.post("/v1/http-consumers", json={"name": name, "metadata": value})
    for wanted, found in CONTAINING:
        page = (await http.get("/v1/http-consumers", params={"metadata": json.dumps(wanted)})).json()
        assert [c["id"] for c in page["data"]] == found, wanted


async def test_c18_a_metadata_filter_that_is_no_object_is_an_invalid_request(http: httpx.AsyncClient) -> None:
    for text in ("x", "[]", "1", "{", '"a"'):
        reply = await http.get("/v1/http-consumers", params={"metadata": text})
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
