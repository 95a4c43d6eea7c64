"""Waiting calls of one server: their order, shared scripts, and no leftovers (C20, C21, C39, C45)."""

import asyncio

import pytest

from broker import Broker, ConsumerSpec, Nack, Store, StreamSpec
from broker.consumers.batches import Batch
from broker.errors import ConsumerNotFound, TooManyWaiting
from tests.conftest import Clock
from tests.contract.helpers import event, plain_add
from tests.support.servers import everywhere

pytestmark = pytest.mark.anyio
WAIT_MS = 300_000


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are woken, or the test fails: looking now and then would hide it."""
    monkeypatch.setattr("broker.consumers.waiting_queue.LOOK_AGAIN_S", 1000.0)
    monkeypatch.setattr("broker.consumers.waiting.PAUSED_S", 1000.0)


async def make(broker: Broker, stream: str = "events") -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id=stream, max_waiting=2000))


async def publish(broker: Broker, count: int, stream: str = "events") -> list[str]:
    return [row.message_id or "" for row in await broker.publish(stream, [event(n) for n in range(count)])]


async def begin(broker: Broker, count: int = 1, batch_size: int = 1, min_batch: int = 1) -> list[asyncio.Task[Batch]]:
    """Calls that wait, and have looked."""
    before = broker.waiting.count
    calls = [asyncio.create_task(broker.next("c", batch_size, min_batch=min_batch, wait_ms=WAIT_MS)) for _ in range(count)]
    while broker.waiting.count < before + count:
        await broker.store.call("PING")
    await idle(broker)
    return calls


async def idle(broker: Broker) -> None:
    """Returns when nobody looks and all that wait are waited for in Redis."""
    queues = broker.waiting._queues
    while any(queue.waiters and (queue._asked or queue._call_off is None) for queue in queues.values()):
        await broker.store.call("PING")


async def scripts(store: Store) -> int:
    """How many scripts ran since the statistics were reset, on all primaries."""
    found = 0
    for key in await store.primaries():
        lines = (await store.call("INFO", "commandstats", at=key)).decode().split()
        found += sum(int(line.split("=")[1].split(",")[0]) for line in lines if line.startswith("cmdstat_evalsha:"))
    return found


async def ids(calls: list[asyncio.Task[Batch]]) -> list[list[str]]:
    async with asyncio.timeout(20):
        return [[delivery.id for delivery in (await call).deliveries] for call in calls]


async def test_c21_messages_that_come_together_are_served_together_in_the_order_of_the_calls(broker: Broker, store: Store) -> None:
    await make(broker)
    calls = await begin(broker, 400)
    await everywhere(store, "CONFIG", "RESETSTAT")
    published = await publish(broker, 400)
    assert await ids(calls) == [[id_] for id_ in published]
    assert await scripts(store) < 20


async def test_c21_redeliveries_that_come_together_are_served_together(broker: Broker, store: Store) -> None:
    await make(broker)
    published = await publish(broker, 200)
    taken = await broker.next("c", 200)
    calls = await begin(broker, 200)
    await everywhere(store, "CONFIG", "RESETSTAT")
    await broker.nack("c", [Nack(delivery.ack_token, 0) for delivery in taken.deliveries])
    assert await ids(calls) == [[id_] for id_ in published]
    assert await scripts(store) < 25


async def test_c21_growth_costs_waiting_calls_that_get_nothing_one_look(broker: Broker, store: Store) -> None:
    await make(broker)
    calls = await begin(broker, 1000)
    await everywhere(store, "CONFIG", "RESETSTAT")
    await publish(broker, 1)
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    await idle(broker)
    assert await scripts(store) <= 4  # the publish, the look that gave it, one that finds no more, and one for a wake that came late
    assert sum(call.done() for call in calls) == 1


async def test_c21_a_call_that_wants_several_at_least_keeps_its_place(broker: Broker) -> None:
    await make(broker)
    [three] = await begin(broker, batch_size=5, min_batch=3)
    singles = await begin(broker, 2)
    one, two = await publish(broker, 2)
    assert await ids(singles) == [[one], [two]]
    more = await publish(broker, 4)
    assert await ids([three]) == [more]


async def test_c21_a_waiting_call_goes_before_a_poll_of_the_same_server(broker: Broker) -> None:
    await make(broker)
    for _ in range(20):
        calls = await begin(broker)
        published = await publish(broker, 1)
        assert (await broker.next("c")).deliveries == []
        assert await ids(calls) == [published]


async def test_c21_a_waiting_call_is_not_passed_over_by_many_polls(broker: Broker) -> None:
    await make(broker)
    [call] = await begin(broker)

    async def poll() -> None:
        while not call.done():
            await broker.next("c")

    pollers = [asyncio.create_task(poll()) for _ in range(8)]
    for _ in range(50):
        if not call.done():
            await publish(broker, 1)
    assert len((await call).deliveries) == 1
    await asyncio.gather(*pollers)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_c21_a_client_that_goes_away_at_any_moment_takes_no_message(broker: Broker, turns: int) -> None:
    await make(broker)
    [goes] = await begin(broker)
    [stays] = await begin(broker)
    await publish(broker, 1)
    for _ in range(turns):
        await asyncio.sleep(0)
    goes.cancel()
    await asyncio.gather(goes, return_exceptions=True)
    if goes.cancelled():
        assert [delivery.deliver_count for delivery in (await stays).deliveries] == [1]
    else:
        stays.cancel()


async def test_c22_who_finds_others_served_learns_what_comes_due(broker: Broker, clock: Clock) -> None:
    await make(broker)
    await publish(broker, 2)
    [one] = (await broker.next("c")).deliveries
    await broker.nack("c", [Nack(one.ack_token, 100)])
    served, empty = await asyncio.gather(broker.next("c"), broker.next("c"))
    assert (len(served.deliveries), len(empty.deliveries), empty.due_in_ms) == (1, 0, 0)
    assert [delivery.id for delivery in (await broker.next("c", wait_ms=WAIT_MS)).deliveries] == [one.id]


async def test_c21_calls_wait_on_a_stream_that_was_made_again_though_its_ids_begin_further_back(broker: Broker, store: Store) -> None:
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    await make(broker, stream="s")
    [first] = await begin(broker)
    await plain_add(store, "collection_id", "a:b", "data", "1", at="9999999999999-0", stream="s")
    assert await ids([first]) == [["9999999999999-0"]]
    [second] = await begin(broker)
    await broker.streams.delete("s", force=True)
    await asyncio.gather(second, return_exceptions=True)
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    await make(broker, stream="s")
    [third] = await begin(broker)
    published = await publish(broker, 1, "s")
    assert await ids([third]) == [published]


async def test_c21_calls_follow_a_consumer_that_was_made_again_on_another_stream(broker: Broker) -> None:
    await make(broker)
    calls = await begin(broker)
    await broker.consumers.delete("c")
    await make(broker, stream="records")
    calls.append(asyncio.create_task(broker.next("c", wait_ms=WAIT_MS)))
    while broker.waiting.count != sum(not call.done() for call in calls):
        await broker.store.call("PING")
    await idle(broker)
    published = await broker.publish("records", [event(n, id=f"r{n}") for n in range(2)])
    if calls[0].done():  # it looked in between
        with pytest.raises(ConsumerNotFound):
            await calls.pop(0)
    assert await ids(calls) == [[row.message_id] for row in published[: len(calls)]]


async def test_c39_calls_that_a_pause_holds_count_as_waiting(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_waiting=2))
    await broker.consumers.pause("c", None)
    held = [asyncio.create_task(broker.next("c", wait_ms=WAIT_MS)) for _ in range(2)]
    while broker.waiting.count < 2:
        await broker.store.call("PING")
    with pytest.raises(TooManyWaiting):
        await broker.next("c", wait_ms=WAIT_MS)
    await publish(broker, 1)
    held[0].cancel()
    await asyncio.gather(held[0], return_exceptions=True)
    assert broker.waiting.count == 1
    broker.waiting.drain()
    assert len((await held[1]).deliveries) == 0
    assert broker.waiting.count == 0


@pytest.mark.parametrize("turns", range(6))
async def test_c45_no_call_begins_to_wait_in_a_drain(broker: Broker, turns: int) -> None:
    await make(broker)
    call = asyncio.create_task(broker.next("c", wait_ms=WAIT_MS))
    for _ in range(turns):
        await asyncio.sleep(0)
    broker.waiting.drain()
    assert len((await call).deliveries) == 0


@pytest.mark.parametrize("handed_on", [False, True])
async def test_c21_a_call_whose_time_is_over_while_it_is_asked_for_gets_what_there_is(broker: Broker, handed_on: bool) -> None:
    await make(broker)
    [call] = await begin(broker)
    queue = broker.waiting._queues["c"]
    [waiter] = queue.waiters
    [published] = await publish(broker, 1)
    while waiter in queue.waiters if handed_on else not waiter.asked:  # noqa: ASYNC110 - turns of the event loop
        await asyncio.sleep(0)
    waiter.end()
    batch = await call
    assert [(d.id, d.ack_token.split(".")[1]) for d in batch.deliveries] == [(published, "1")]
