"""Which version of a record stands (C15)."""

import itertools

import pytest

from tests.conftest import Clock
from tests.contract.helpers import record, statuses, take
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio


async def test_c15_an_update_moves_the_record_to_the_end(api: Api) -> None:
    await api.publish("records", [record("a", 1), record("b", 1)])
    answer = await api.publish("records", [record("a", 2)])
    assert statuses(answer) == ["updated"]
    found = (await api.messages("records"))["data"]
    assert [(m["record"]["id"], m["record"]["data"]) for m in found] == [("b", 1), ("a", 2)]
    assert found[1]["id"] == answer["data"][0]["message_id"]


async def test_c15_the_same_content_changes_nothing(api: Api) -> None:
    fields: Json = {"resource_id": "r", "upstream_updated_at": "2026-01-01T00:00:00Z"}
    await api.publish("records", [record("a", {"x": 1}, **fields)])
    before = await api.messages("records")
    assert statuses(await api.publish("records", [record("a", {"x": 1}, **fields)])) == ["unchanged"]
    assert await api.messages("records") == before


CHANGES: list[Json] = [
    {"data": {"x": 2}}, {"data": None}, {"resource_id": "other"}, {"resource_id": None}, {"upstream_updated_at": None},
    {"upstream_updated_at": "2026-01-01T00:00:01Z"}, {"upstream_updated_at": "2026-01-01T00:00:00.000001Z"},
]  # fmt: skip


async def test_c15_other_content_is_an_update(api: Api) -> None:
    for i, change in enumerate(CHANGES):
        given = record(str(i), {"x": 1}, resource_id="r", upstream_updated_at="2026-01-01T00:00:00Z")
        await api.publish("records", [given])
        assert statuses(await api.publish("records", [given | change])) == ["updated"], change
        found = await api.record("records", str(i))
        assert found | change == found


TIMES_IN_ORDER = [
    "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:58.9999999Z", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.0000001Z",
    "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.0000009Z", "1970-01-01T00:00:00.000001Z", "2016-12-31T23:59:59.999999999Z",
    "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00Z", "2026-01-01T00:00:00.123456788Z",
    "2026-01-01T01:00:00.123456789+01:00", "2026-01-01T00:00:00.1234567891Z", "2026-01-01T00:00:00.12345679Z",
    "9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.9999991Z", "9999-12-31T23:59:59-23:59",
]  # fmt: skip


async def test_c15_times_are_compared_to_their_last_digit(api: Api) -> None:
    for i, (older, newer) in enumerate(itertools.pairwise(TIMES_IN_ORDER)):
        name = str(i)
        await api.publish("records", [record(name, 1, upstream_updated_at=newer)])
        assert statuses(await api.publish("records", [record(name, 2, upstream_updated_at=older)])) == ["stale"], (older, newer)
        versions = [record(name, 3, upstream_updated_at=older), record(name, 4, upstream_updated_at=newer)]
        assert statuses(await api.publish("records", versions)) == ["stale", "updated"], (older, newer)
        more = [record(name + "b", 5, upstream_updated_at=older), record(name + "b", 6, upstream_updated_at=newer)]
        assert statuses(await api.publish("records", more)) == ["created", "updated"], (older, newer)


async def test_c15_the_same_instant_in_another_spelling_is_not_older(api: Api) -> None:
    await api.publish("records", [record("a", 1, upstream_updated_at="2026-01-01T00:00:00.12345670Z")])
    same = record("a", 2, upstream_updated_at="2026-01-01T02:00:00.123456700000+02:00")
    assert statuses(await api.publish("records", [same])) == ["updated"]


async def test_c15_an_older_version_is_stale_by_the_instant(api: Api) -> None:
    await api.publish("records", [record("a", 1, upstream_updated_at="2026-01-01T00:00:00Z")])
    before = await api.messages("records")
    for older in ("2025-12-31T23:59:59Z", "2026-01-01T00:59:59.999999+01:00", "2025-12-31T18:59:59-05:00"):
        deletion = {"id": "a", "collection_id": "crm:contacts", "deleted": True, "upstream_updated_at": older}
        versions = [record("a", 2, upstream_updated_at=older), deletion]
        assert statuses(await api.publish("records", versions)) == ["stale", "stale"], older
    assert await api.messages("records") == before


async def test_c15_a_version_that_is_not_older_stands(api: Api) -> None:
    for newer in ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2025-12-31T19:00:01-05:00", None):
        name = str(newer)
        await api.publish("records", [record(name, 1, upstream_updated_at="2026-01-01T00:00:00Z")])
        assert statuses(await api.publish("records", [record(name, 2, upstream_updated_at=newer)])) == ["updated"], newer
        assert [row["record"]["data"] for row in (await api.messages("records"))["data"] if row["record"]["id"] == name] == [2]


async def test_c15_a_tombstone_takes_the_records_place_and_may_be_replaced(api: Api) -> None:
    tombstone = {"id": "a", "collection_id": "crm:contacts", "deleted": True}
    await api.publish("records", [record("a", 1), record("b", 1)])
    assert statuses(await api.publish("records", [tombstone])) == ["deleted"]
    assert [(m["record"]["id"], m["record"]["deleted"]) for m in (await api.messages("records"))["data"]] == [("b", False), ("a", True)]
    assert statuses(await api.publish("records", [tombstone])) == ["unchanged"]
    assert statuses(await api.publish("records", [record("a", 1)])) == ["updated"]
    assert (await api.record("records", "a"))["deleted"] is False


async def test_c15_an_unknown_tombstone_is_appended(api: Api) -> None:
    assert statuses(await api.publish("records", [{"id": "a", "collection_id": "x:y", "deleted": True}])) == ["created"]


async def test_c15_of_two_versions_in_one_request_the_last_stands(api: Api) -> None:
    await api.create_consumer(name="c")
    answer = await api.publish("records", [record("a", 1), record("b", 1), record("a", 2)])
    assert statuses(answer) == ["created", "created", "updated"]
    assert await take(api, "c") == [1, 2]
    assert [m["record"]["id"] for m in (await api.messages("records"))["data"]] == ["b", "a"]


async def test_c15_versions_that_end_where_they_began_change_nothing(api: Api) -> None:
    batch = [record("a", 1), record("b", 1), record("a", 2)]
    await api.publish("records", batch)
    held = await api.messages("records")
    answer = await api.publish("records", batch)
    assert statuses(answer) == ["unchanged"] * 3
    assert await api.messages("records") == held


async def test_c16_versions_in_one_call_take_one_number(api: Api) -> None:
    await api.publish("records", [record("a", 1), record("b", 1), record("a", 2)])
    rows = (await api.messages("records"))["data"]
    assert [(row["record"]["id"], row["record"]["data"], row["record"]["updated_idx"]) for row in rows] == [("b", 1, 1), ("a", 2, 2)]


async def test_c15_inserted_at_is_when_the_record_first_entered(api: Api, clock: Clock) -> None:
    await api.publish("records", [record("a", 1)])
    first = (await api.record("records", "a"))["inserted_at"]
    await clock.advance(3_600_000)
    await api.publish("records", [record("a", 2), record("b", 1)])
    assert (await api.record("records", "a"))["inserted_at"] == first
    assert (await api.record("records", "b"))["inserted_at"] > first


async def test_c15_records_of_different_streams_are_apart(api: Api) -> None:
    await api.create_stream(name="s")
    await api.publish("records", [record("a", 1)])
    assert statuses(await api.publish("s", [record("a", 1)])) == ["created"]
