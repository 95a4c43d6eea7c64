"""C54: an answer of `next` is bounded in bytes, but has at least one message; the rest comes with the next answer."""

import asyncio

import httpx
import pytest

from broker import Broker, Nack, Store
from broker.commands.scripts import MAX_ANSWER_BYTES
from tests.conftest import Clock
from tests.contract.delivering import STREAMS, WAIT, consumer
from tests.contract.helpers import body, counts, event, plain_add, tokens
from tests.contract.measuring import IDS, KINDS, all_of, measured, numbers, publish, text
from tests.support.api import HttpApi, Json

pytestmark = pytest.mark.anyio
api = measured


@pytest.mark.parametrize("fields", KINDS, ids=IDS)
async def test_c54_next_gives_what_fits_and_goes_on_with_the_rest(api: HttpApi, fields: Json) -> None:
    await consumer(api, **fields)
    await publish(api, 40, fields.get("stream_id", "events"))
    assert await all_of(api, 40) == list(range(40))
    assert await counts(api, "c") == (0, 40, 0, 0)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 20, 40])
async def test_c54_the_fast_path_is_bounded_too(api: HttpApi, batch_size: int) -> None:
    await consumer(api)
    await publish(api, 60)
    given: list[int] = []
    while len(given) < 60:
        batch = (await api.next("c", batch_size))["data"]
        assert min(batch_size, 3) <= len(batch) <= batch_size or len(given) + len(batch) == 60
        given += numbers(batch)
    assert given == list(range(60))


@pytest.mark.parametrize("fields", KINDS, ids=IDS)
@pytest.mark.parametrize("how", ["expiry", "nack", "release", "extend"])
async def test_c54_so_are_redeliveries(api: HttpApi, clock: Clock, how: str, fields: Json) -> None:
    await consumer(api, **fields)
    await publish(api, 30, fields.get("stream_id", "events"))
    out: list[str] = []
    while len(out) < 30:
        out += tokens(await api.next("c", 1000))
    if how == "nack":
        await api.nack("c", out, delay_ms=0)
    elif how == "release":
        await api.nack_each("c", [{"ack_token": token, "outcome": "release"} for token in out])
    elif how == "extend":
        await api.extend("c", out)
    if how in ("expiry", "extend"):
        await clock.advance(WAIT)
    given: list[int] = []
    while len(given) < 30:
        batch = (await api.next("c", 1000))["data"]
        assert 1 <= len(batch) < 10
        given += numbers(batch)
    assert given == list(range(30))
    assert (await counts(api, "c"))[:3] == (0, 30, 0)


async def test_c54_what_did_not_fit_is_not_out(api: HttpApi, clock: Clock) -> None:
    await consumer(api)
    await publish(api, 30)
    given = numbers((await api.next("c", 1000))["data"])
    assert await counts(api, "c") == (30 - len(given), len(given), 0, 0)
    await clock.advance(WAIT)
    again = await api.next("c", 1000)
    assert numbers(again["data"])[: len(given)] == given[: len(again["data"])]
    assert {row["deliver_count"] for row in again["data"]} == {2}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("filters", [{}, {"provider": "crm"}], ids=["unfiltered", "filtered"])
async def test_c54_a_message_larger_than_an_answer_comes_alone(api: HttpApi, stream: str, filters: Json) -> None:
    await consumer(api, name="alone", stream_id=stream, filters=filters)
    messages = [event(text(n, 30_000 if n in (2, 3) else 100), id=str(n)) for n in range(6)]
    await api.publish(stream, messages)
    given: list[list[int]] = []
    while sum(map(len, given)) < 6:
        given.append(numbers((await api.next("alone", 1000))["data"]))
        assert given[-1]
    assert [2] in given
    assert [3] in given
    assert [n for some in given for n in some] == list(range(6))


async def test_c54_entries_of_plain_clients_are_measured_as_they_are_answered(api: HttpApi, store: Store) -> None:
    await consumer(api)
    for n in range(20):
        await plain_add(store, "collection_id", "crm:x", "key", str(n), "number", str(n), "text", b"\x01" * 1000)
        await plain_add(store, "collection_id", "crm:x", "key", str(n), "number", str(n), "bytes", b"\xff" * 1000)
    given: list[str] = []
    while len(given) < 40:
        batch = (await api.next("c", 1000))["data"]
        assert batch
        given += [body(row)["data"]["number"] for row in batch]
    assert given == [str(n // 2) for n in range(40)]


async def test_c54_callers_of_one_round_each_get_some(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 60)
    batches = await asyncio.gather(*(api.next("c", 10) for _ in range(6)))
    given = [numbers(batch["data"]) for batch in batches]
    assert all(given)
    assert len({n for some in given for n in some}) == sum(map(len, given))
    assert (await counts(api, "c"))[:2] == (60 - sum(map(len, given)), sum(map(len, given)))


async def test_c54_callers_of_one_round_are_told_what_they_settled(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 60)
    held = [tokens(await api.next("c", 1)) for _ in range(5)]
    nack = [{"ack_token": held[4][0], "outcome": "reject"}]
    answers = await asyncio.gather(*(api.settle_and_fetch("c", 10, ack, []) for ack in held[:4]), api.settle_and_fetch("c", 10, [], nack))
    assert [answer["settled"] for answer in answers[:4]] == [{"acked": 1, "nacked": 0, "stale": []}] * 4
    assert answers[4]["settled"] == {"acked": 0, "nacked": 1, "stale": []}
    assert all(answer["data"] for answer in answers)
    assert (await counts(api, "c"))[2] == 1


async def test_c54_callers_of_one_round_share_what_there_is_and_the_others_get_nothing(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 3)
    batches = await asyncio.wait_for(asyncio.gather(*(api.next("c", 10) for _ in range(6))), 20)
    assert sorted(n for batch in batches for n in numbers(batch["data"])) == [0, 1, 2]


async def test_c54_waiting_calls_are_all_answered(api: HttpApi) -> None:
    await consumer(api)
    calls = [asyncio.ensure_future(api.next("c", 10, wait_ms=60_000)) for _ in range(6)]
    await counts(api, "c")
    await publish(api, 60)
    batches = await asyncio.wait_for(asyncio.gather(*calls), 20)
    assert all(batch["data"] for batch in batches)


async def test_c54_a_min_batch_that_does_not_fit_is_given_in_part(api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 30)
    batch = await asyncio.wait_for(api.next("c", 30, min_batch=30, wait_ms=60_000), 20)
    assert 1 <= len(batch["data"]) < 10
    assert numbers(batch["data"]) == list(range(len(batch["data"])))


async def test_c54_large_events_that_die_together_are_buried_step_by_step(api: HttpApi, small: Broker, clock: Clock) -> None:
    await consumer(api, max_deliver=1)
    await publish(api, 50)
    await publish(api, 50, first=50)
    while len((await small.next("c", 1000)).deliveries):
        pass
    await clock.advance(WAIT)
    assert await counts(api, "c") == (0, 0, 100, 0)


async def test_c54_a_release_of_what_a_caller_left_is_not_bounded(small: Broker, api: HttpApi) -> None:
    await consumer(api)
    await publish(api, 40)
    out: list[str] = []
    while len(out) < 40:
        out += [d.ack_token for d in (await small.next("c", 1000)).deliveries]
    assert (await small.nack("c", [Nack(token, 0, "release") for token in out])).count == 40
    assert sorted(await all_of(api, 40)) == list(range(40))


async def test_c54_many_events_of_a_megabyte_are_answered_by_eight_mebibytes(http: httpx.AsyncClient) -> None:
    """The input that was answered 504 with everything out, and the limit that stands where nobody sets one."""
    count, text = 24, "x" * 1_000_000
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    for start in range(0, count, 8):
        reply = await http.post("/v1/streams/events/messages", json={"messages": [event([n, text]) for n in range(start, start + 8)]})
        assert reply.status_code == 200
    assert len((await http.get("/v1/http-consumers/c/peek?limit=1000")).content) <= MAX_ANSWER_BYTES
    page = await http.get("/v1/streams/events/messages?limit=1000")
    assert len(page.content) <= MAX_ANSWER_BYTES
    assert (len(page.json()["data"]), page.json()["next"] is not None) == (8, True)
    given: list[int] = []
    while len(given) < count:
        reply = await http.get("/v1/http-consumers/c/next?batch_size=1000")
        assert (reply.status_code, len(reply.content) <= MAX_ANSWER_BYTES) == (200, True)
        assert len(reply.json()["data"]) >= 6
        given += [row["event"]["data"][0] for row in reply.json()["data"]]
    assert given == list(range(count))
