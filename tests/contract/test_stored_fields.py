"""The fields of a message that was published, as it is delivered."""

import uuid

import pytest

from tests.contract.helpers import TIME, body, event, record, statuses
from tests.support.api import Api

pytestmark = pytest.mark.anyio

EVENT_KEYS = {
    "id", "collection_id", "provider", "resource_id", "stream_id", "upstream_id", "event", "data", "changes", "key", "updated_idx",
    "inserted_at", "upstream_created_at", "upstream_updated_at", "headers",
}  # fmt: skip
RECORD_KEYS = (EVENT_KEYS - {"event", "changes", "key"}) | {"deleted"}


async def test_an_event_is_delivered_with_all_its_fields(api: Api) -> None:
    given = {
        "collection_id": "crm:contacts:eu", "id": "e1", "upstream_id": "u1", "resource_id": "r1", "data": {"a": [1, None]},
        "event": "updated", "changes": {"a": 0}, "key": "k1", "upstream_created_at": "2026-01-31T12:00:00+02:00",
        "upstream_updated_at": "2026-01-31T12:00:00.123456Z", "headers": {"a": "1"},
    }  # fmt: skip
    await api.create_consumer(name="c", stream_id="events")
    published = (await api.publish("events", [given]))["data"][0]
    delivery = (await api.next("c"))["data"][0]
    assert set(delivery) == {"ack_token", "id", "deliver_count", "event"}
    assert delivery["id"] == published["message_id"]
    inserted_at = delivery["event"]["inserted_at"]
    assert TIME.fullmatch(inserted_at)
    assert delivery["event"] == given | {"provider": "crm", "stream_id": "events", "updated_idx": 1, "inserted_at": inserted_at}
    assert (await api.messages("events"))["data"] == [{"id": published["message_id"], "event": delivery["event"]}]


async def test_an_event_has_null_for_what_is_absent(api: Api) -> None:
    await api.create_consumer(name="c", stream_id="events")
    published = (await api.publish("events", [{"collection_id": "plain", "data": None}]))["data"][0]
    found = (await api.next("c"))["data"][0]["event"]
    assert set(found) == EVENT_KEYS
    del found["inserted_at"]
    assert found == {
        "id": published["id"], "collection_id": "plain", "provider": "plain", "resource_id": None, "stream_id": "events",
        "upstream_id": None, "event": "created", "data": None, "changes": None, "key": None, "updated_idx": 1,
        "upstream_created_at": None, "upstream_updated_at": None, "headers": None,
    }  # fmt: skip


async def test_a_record_is_delivered_with_all_its_fields(api: Api) -> None:
    given = {
        "collection_id": "crm:contacts", "id": "1", "upstream_id": "u1", "resource_id": "r1", "data": [1], "deleted": False,
        "upstream_created_at": "2026-01-31T12:00:00-05:30", "upstream_updated_at": "2026-01-31t12:00:00z",
        "headers": {"traceparent": "00-1-2-01"},
    }  # fmt: skip
    await api.create_consumer(name="c")
    published = (await api.publish("records", [given]))["data"][0]
    delivery = (await api.next("c"))["data"][0]
    assert set(delivery) == {"ack_token", "id", "deliver_count", "record"}
    assert delivery["id"] == published["message_id"]
    inserted_at = delivery["record"]["inserted_at"]
    assert TIME.fullmatch(inserted_at)
    whole = given | {"provider": "crm", "stream_id": "records", "updated_idx": 1, "inserted_at": inserted_at}
    assert delivery["record"] == whole
    assert await api.record("records", "1") == whole
    assert (await api.messages("records"))["data"] == [{"id": published["message_id"], "record": whole}]


async def test_a_tombstone_has_null_for_what_is_absent(api: Api) -> None:
    await api.publish("records", [{"id": "1", "collection_id": "a:b:c", "deleted": True}])
    found = await api.record("records", "1")
    assert set(found) == RECORD_KEYS
    del found["inserted_at"]
    assert found == {
        "id": "1", "collection_id": "a:b:c", "provider": "a", "resource_id": None, "stream_id": "records", "upstream_id": None,
        "data": None, "deleted": True, "updated_idx": 1, "upstream_created_at": None, "upstream_updated_at": None, "headers": None,
    }  # fmt: skip


async def test_a_tombstone_may_carry_data(api: Api) -> None:
    await api.publish("records", [record("1", {"last": "seen"}, deleted=True)])
    found = await api.record("records", "1")
    assert (found["data"], found["deleted"]) == ({"last": "seen"}, True)


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_sync_id_is_an_alias_of_resource_id(api: Api, stream: str) -> None:
    await api.publish(stream, [event(1, id="1", sync_id="s"), event(2, id="2", sync_id="s", resource_id="s")])
    found = [body(row) for row in (await api.messages(stream))["data"]]
    assert [m["resource_id"] for m in found] == ["s", "s"]
    assert not any("sync_id" in m for m in found)


async def test_the_key_of_an_event_is_its_upstream_id_unless_given(api: Api) -> None:
    await api.publish("events", [event(1, upstream_id="u"), event(2, upstream_id="u", key="k"), event(3, key="k")])
    assert [body(row)["key"] for row in (await api.messages("events"))["data"]] == ["u", "k", "k"]


async def test_a_record_without_an_id_is_known_by_what_it_is_upstream(api: Api) -> None:
    message = {"collection_id": "a:b", "upstream_id": "u", "data": 1}
    first = (await api.publish("records", [message]))["data"][0]
    assert uuid.UUID(first["id"]).version == 5
    again = await api.publish("records", [message | {"data": 2}, message | {"collection_id": "a:c"}, message | {"upstream_id": "v"}])
    assert statuses(again) == ["updated", "created", "created"]
    assert again["data"][0]["id"] == first["id"]
    await api.create_stream(name="s")
    other = (await api.publish("s", [message]))["data"][0]
    assert len({row["id"] for row in (*again["data"], other)}) == 4
    assert (await api.record("records", first["id"]))["upstream_id"] == "u"
