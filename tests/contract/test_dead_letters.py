"""What is dead (C37)."""

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.helpers import counted, counts, data, event, publish_each, record, tokens
from tests.contract.looking import FILTERS, WAIT, all_rows, consumer, ms, shown
from tests.support.api import Api, Json, Refused

pytestmark = pytest.mark.anyio


# C37


async def kill(api: Api, count: int) -> None:
    """Use up the deliveries of the next messages, one after the other."""
    for _ in range(count):
        await api.nack("c", tokens(await api.next("c", 1)))


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize(("stream", "label"), [("events", "event"), ("records", "record")])
async def test_c37_a_dead_letter_tells_what_happened(api: Api, clock: Clock, stream: str, label: str, filters: Json) -> None:
    await consumer(api, stream_id=stream, max_deliver=2, filters=filters)
    assert await api.dead_letters("c") == {"data": [], "next": None}
    published = await api.publish(stream, [event({"x": [1]}, id="1", resource_id="r")])
    await api.nack("c", tokens(await api.next("c")))
    await clock.advance(3000)
    last = (await api.next("c"))["data"][0]
    await clock.advance(2000)
    await api.nack("c", [last["ack_token"]])
    (letter,) = (await api.dead_letters("c"))["data"]
    assert set(letter) == {"id", label, "deliver_count", "reason", "last_nack_reason", "last_delivered_at", "last_worker", "dead_at"}
    assert 2000 <= ms(letter.pop("dead_at")) - ms(letter.pop("last_delivered_at")) < 2000 + WAIT
    assert letter == {
        "id": published["data"][0]["message_id"], label: last[label], "deliver_count": 2, "reason": "max_deliver", "last_nack_reason": None,
        "last_worker": None,
    }  # fmt: skip


async def test_c37_dead_letters_by_expiry_tell_when_they_were_delivered(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    await api.next("c")
    delivered_at = (await api.pending("c"))["data"][0]["delivered_at"]
    await clock.advance(3 * WAIT)
    (letter,) = (await api.dead_letters("c"))["data"]
    assert (letter["reason"], letter["deliver_count"], letter["last_nack_reason"]) == ("max_deliver", 1, None)
    assert abs(ms(letter["last_delivered_at"]) - ms(delivered_at)) < WAIT
    assert ms(letter["dead_at"]) >= ms(delivered_at) + WAIT


async def test_c37_dead_letters_are_paged_and_filtered(api: Api) -> None:
    await consumer(api, max_deliver=1)
    for i in range(6):
        await api.publish("events", [event(i, "crm:a" if i % 3 == 0 else "crm:b")])
    await kill(api, 6)
    expected: list[tuple[Json, list[int]]] = [
        ({}, [0, 1, 2, 3, 4, 5]), ({"collection_id": "crm:a"}, [0, 3]), ({"collection_id": "crm:none"}, []),
        ({"reason": "max_deliver"}, [0, 1, 2, 3, 4, 5]), ({"reason": "rejected"}, []),
        ({"reason": "max_deliver", "collection_id": "crm:b"}, [1, 2, 4, 5]),
    ]  # fmt: skip
    for limit in (1, 2, 3, 5, 6, 1000):
        for query, values in expected:
            assert shown(await all_rows(api, "dead", limit=limit, **query)) == values, query


async def test_c37_there_are_100_rows_unless_told(api: Api) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, list(range(101)))
    await api.nack("c", tokens(await api.next("c", 101)))
    page = await api.dead_letters("c")
    assert len(page["data"]) == 100
    assert shown((await api.dead_letters("c", after=page["next"]))["data"]) == [100]


async def test_c37_an_unknown_reason_is_an_invalid_request(api: Api) -> None:
    await consumer(api)
    with pytest.raises(Refused) as refusal:
        await api.dead_letters("c", reason="boredom")
    assert (refusal.value.status, refusal.value.code) == (400, "INVALID_REQUEST")


async def test_c37_reading_dead_letters_changes_nothing(api: Api) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1, 2, 3])
    await kill(api, 2)
    first = await api.dead_letters("c")
    assert await api.dead_letters("c") == first
    assert await counts(api, "c") == (1, 0, 2, 0)


async def test_c37_a_dead_letter_outlives_its_message(api: Api) -> None:
    await api.create_stream(name="s", kind="events", max_messages=1)
    await consumer(api, stream_id="s", max_deliver=1)
    await publish_each(api, [1], "s")
    await kill(api, 1)
    before = await api.dead_letters("c")
    await publish_each(api, [2], "s")
    assert shown(before["data"]) == [1]
    assert await api.dead_letters("c") == before


async def test_c37_a_record_stays_dead_in_its_old_version_and_its_new_one_is_delivered(api: Api) -> None:
    await consumer(api, stream_id="records", max_deliver=1)
    await api.publish("records", [record("a", 1)])
    await kill(api, 1)
    await api.publish("records", [record("a", 2)])
    assert shown((await api.dead_letters("c"))["data"]) == [1]
    assert counted(await api.next("c", 9)) == [(2, 1)]


async def test_c37_dead_letters_keep_the_spelling_of_data(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events", "max_deliver": 1})
    sent = b'{"messages":[{"collection_id":"a:b","data":{"z":1.10,"a":[1e5,"\\u00e9"]}}]}'
    await http.post("/v1/streams/events/messages", content=sent, headers={"Content-Type": "application/json"})
    out = tokens((await http.get("/v1/http-consumers/c/next")).json())
    await http.post("/v1/http-consumers/c/nack", json={"ack_tokens": out})
    assert b'"data":{"z":1.10,"a":[1e5,"\\u00e9"]}' in (await http.get("/v1/http-consumers/c/dead-letters")).content


async def test_c3_nothing_follows_the_greatest_id(api: Api, store: Store) -> None:
    greatest = f"{2**64 - 1}-{2**64 - 1}"
    await api.create_consumer(name="c", stream_id="events")
    await publish_each(api, [1])
    assert await api.messages("events", after=greatest) == {"data": [], "next": None}
    assert await api.pending("c", after=greatest) == {"data": [], "next": None}
    assert await api.dead_letters("c", after=greatest) == {"data": [], "next": None}
    await store.call("XADD", "broker:{events}:log", greatest, "collection_id", "a:b", "data", "2")
    for _ in range(2):
        assert (await api.get_stream("events"))["info"]["messages"] == 2
        assert (await api.get_consumer("c"))["info"]["num_pending"] == 2
    assert data(await api.next("c", 9)) == [1, 2]
    assert [row["id"] for row in (await api.pending("c"))["data"]][1:] == [greatest]
    assert (await api.get_consumer("c"))["info"]["num_pending"] == 0
    assert (await api.next("c", 9))["data"] == []


@pytest.mark.parametrize("wrong", ["1", "1-x", "18446744073709551616-0", "record-7"])
async def test_c37_a_wrong_id_of_a_dead_letter_is_told_where_ids_come_from(http: httpx.AsyncClient, wrong: str) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    path = "/v1/http-consumers/c/dead-letters"
    for reply in (await http.post(path + "/redrive", json={"ids": [wrong]}), await http.delete(path, params={"ids": f"1-1,{wrong}"})):
        assert (reply.status_code, reply.json()["code"]) == (400, "INVALID_REQUEST")
        assert reply.json()["summary"] == f"'{wrong}' is not a message id; name dead letters by the ids that their list shows."
    assert "use a cursor that the list gave" in (await http.get(path, params={"after": wrong})).json()["summary"]


async def test_c37_an_empty_collection_is_not_every_collection(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    reply = await http.post("/v1/http-consumers/c/dead-letters/redrive", json={"collection_id": ""})
    assert (reply.status_code, list(reply.json()["validation_errors"])) == (422, ["collection_id"])


# Times that tell what happened


async def dead_after(api: Api) -> int:
    """How many ms a dead letter's last delivery lies before its death."""
    (letter,) = (await api.dead_letters("c"))["data"]
    return ms(letter["dead_at"]) - ms(letter["last_delivered_at"])


@pytest.mark.parametrize("how", ["expiry", "nack", "reject"])
async def test_c37_extend_does_not_move_the_last_delivery_of_a_dead_letter(api: Api, clock: Clock, how: str) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    given = tokens(await api.next("c"))
    await clock.advance(5000)
    await api.extend("c", given)
    await clock.advance(WAIT if how == "expiry" else 5000)
    if how == "nack":
        await api.nack("c", given)
    elif how == "reject":
        await api.nack_each("c", [{"ack_token": given[0], "outcome": "reject"}])
    assert 0 <= await dead_after(api) - (5000 + WAIT if how == "expiry" else 10_000) < 1000


@pytest.mark.parametrize("fields", [{}, {"ordering": "key"}, {"filters": {"provider": "crm"}}], ids=["plain", "key", "filtered"])
async def test_c37_a_retry_that_is_buried_tells_when_it_was_delivered(api: Api, clock: Clock, fields: Json) -> None:
    await consumer(api, max_deliver=5, **fields)
    await publish_each(api, [1])
    await api.nack("c", tokens(await api.next("c")), delay_ms=0)
    given = tokens(await api.next("c"))
    await clock.advance(3000)
    await api.nack("c", given, delay_ms=600_000)
    await clock.advance(4000)
    await api.update_consumer("c", max_deliver=2)
    await clock.advance(600_000)
    assert (await counts(api, "c"))[2] == 1
    assert 0 <= await dead_after(api) - 607_000 < 1000


async def test_c37_a_rejected_redelivery_tells_when_it_was_delivered(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1])
    await api.nack("c", tokens(await api.next("c")), delay_ms=2000)
    await clock.advance(2000)
    given = tokens(await api.next("c"))
    await clock.advance(4000)
    await api.nack_each("c", [{"ack_token": given[0], "outcome": "reject"}])
    assert 0 <= await dead_after(api) - 4000 < 1000


async def test_c37_a_redriven_message_that_is_buried_again_tells_when_it_was_delivered(api: Api, clock: Clock) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    await kill(api, 1)
    await api.redrive("c")
    await clock.advance(50_000)
    given = tokens(await api.next("c"))
    await clock.advance(7000)
    await api.nack("c", given)
    assert 0 <= await dead_after(api) - 7000 < 1000


@pytest.mark.parametrize("step", [-20_000, -3_600_000])
async def test_c37_a_step_back_of_the_clock_leaves_a_death_after_its_delivery(api: Api, clock: Clock, step: int) -> None:
    await consumer(api, max_deliver=1)
    await publish_each(api, [1])
    await api.next("c")
    await clock.advance(step)
    assert (await api.next("c"))["data"] == []
    await clock.advance(WAIT + 100)
    assert 0 <= await dead_after(api) <= 2 * WAIT
