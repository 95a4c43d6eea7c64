"""A lost reply of Redis does not become an empty answer or a refusal: no message dies unseen (C3, C21, C47)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker import Broker, ConsumerChanges, ConsumerSpec, Nack, Store, StreamChanges, StreamSpec
from broker.errors import OutcomeUnknown
from broker.store.embedded import Embedded
from tests.support.clock import advance, shifted_scripts
from tests.support.cutting import Proxy, proxy
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio
EVENT = {"collection_id": "a:b", "data": 1}
LOOK = b"EVALSHA"


@asynccontextmanager
async def cut_off(server: Embedded) -> AsyncIterator[tuple[Broker, Proxy]]:
    """A broker whose connections can be cut."""
    async with proxy(server.socket) as (between, url), Broker(Store.from_url(url), scripts=shifted_scripts()) as broker:
        yield broker, between


async def blocked(store: Store) -> None:
    """Returns when a waiting read stands in Redis."""

    async def waits() -> bool:
        return b"blocked_clients:1" in await store.call("INFO", "clients")

    await eventually(waits)


@pytest.mark.parametrize("fields", [{}, {"ordering": "key"}], ids=["read", "script"])
@pytest.mark.parametrize("min_batch", [1, 2])
async def test_a_waiting_call_whose_look_was_lost_is_answered_504(
    redis_server: Embedded, store: Store, broker: Broker, fields: dict[str, str], min_batch: int
) -> None:
    """Its message was delivered for the last time, and becomes a dead letter."""
    async with cut_off(redis_server) as (cut, between):
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_deliver=1, **fields))  # type: ignore[arg-type]
        waiting = asyncio.create_task(cut.next("c", 5, min_batch=min_batch, wait_ms=10_000))
        await blocked(store)
        between.cut_at(LOOK, deliver=True)
        await broker.publish("events", [EVENT] * min_batch)
        with pytest.raises(OutcomeUnknown):
            await waiting
        info = (await broker.consumers.get("c")).info
        assert (info.num_pending, info.num_ack_pending) == (0, min_batch)


async def test_a_waiting_call_whose_look_never_came_to_redis_is_answered_504_and_the_others_are_served(
    redis_server: Embedded, store: Store, broker: Broker
) -> None:
    async with cut_off(redis_server) as (cut, between):
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_deliver=1))
        calls = [asyncio.create_task(cut.next("c", wait_ms=10_000)) for _ in range(3)]
        await blocked(store)
        between.cut_at(LOOK, deliver=False)
        await broker.publish("events", [EVENT] * 2)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(answers[0], OutcomeUnknown)
        assert [len(batch.deliveries) for batch in answers[1:] if not isinstance(batch, BaseException)] == [1, 1]


async def test_a_call_that_has_settled_and_waits_is_answered_504_too(redis_server: Embedded, store: Store, broker: Broker) -> None:
    """What it settled is settled, and repeating it is safe."""
    async with cut_off(redis_server) as (cut, between):
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_deliver=1))
        await broker.publish("events", [EVENT])
        [first] = (await cut.next("c")).deliveries
        waiting = asyncio.create_task(cut.next("c", wait_ms=10_000, ack=[first.ack_token]))
        await blocked(store)
        between.cut_at(LOOK, deliver=True)
        await broker.publish("events", [EVENT])
        with pytest.raises(OutcomeUnknown):
            await waiting
        assert (await broker.ack("c", [first.ack_token])).stale == [first.ack_token]


async def test_the_last_look_of_a_waiting_call_is_answered_504_too(redis_server: Embedded, store: Store, broker: Broker) -> None:
    async with cut_off(redis_server) as (cut, between):
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_deliver=1))
        waiting = asyncio.create_task(cut.next("c", 5, min_batch=3, wait_ms=300))
        await blocked(store)
        await broker.publish("events", [EVENT])  # too few, but given when the time is over
        await blocked(store)
        between.cut_at(LOOK, deliver=True)
        with pytest.raises(OutcomeUnknown):
            await waiting


@pytest.mark.parametrize("deliver", [True, False])
async def test_what_a_caller_that_went_away_was_given_is_given_back_over_a_lost_connection(
    redis_server: Embedded, store: Store, broker: Broker, deliver: bool
) -> None:
    gone = asyncio.Event()

    async def leave() -> None:
        await gone.wait()

    async with cut_off(redis_server) as (cut, between):
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_deliver=1))
        waiting = asyncio.create_task(cut.next("c", wait_ms=10_000, gone=leave))
        await blocked(store)
        look = cut.deliveries._commit._send

        async def send(*args: Any) -> Any:
            """The caller goes while the answer is on its way, and the connection as it is given back."""
            answer = await look(*args)
            if not gone.is_set():
                gone.set()
                between.cut_at(LOOK, deliver=deliver)
                await asyncio.sleep(0)
            return answer

        cut.deliveries._commit._send = send
        await broker.publish("events", [EVENT])
        assert not (await waiting).deliveries

        async def given_back() -> bool:
            info = (await broker.consumers.get("c")).info
            return (info.num_pending, info.num_ack_pending, info.num_dead) == (1, 0, 0)

        await eventually(given_back)
        await advance(store, 60_000)
        [delivery] = (await broker.next("c")).deliveries
        assert delivery.deliver_count == 1


def refusing_after(broker: Broker, store: Store, scripts: int) -> None:
    """Redis refuses to write once it has run so many more scripts."""
    engine, left = broker.streams._engine, [scripts]
    run = engine.run

    async def once(*args: Any) -> Any:
        reply = await run(*args)
        left[0] -= 1
        if not left[0]:
            await store.call("CONFIG", "SET", "min-replicas-to-write", 1)
        return reply

    engine.run = once  # type: ignore[assignment,method-assign]


@pytest.fixture
async def writable(store: Store) -> AsyncIterator[None]:
    """Redis takes writes again after the test."""
    yield
    await store.call("CONFIG", "SET", "min-replicas-to-write", 0)


@pytest.mark.usefixtures("writable")
async def test_a_refusal_after_a_step_that_settled_is_504(store: Store, broker: Broker) -> None:
    """The retries that come due are more than a script settles, so that it is called again."""
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await broker.publish("events", [EVENT] * 701)
    [first, *others] = [d.ack_token for d in (await broker.next("c", 701)).deliveries]
    await broker.nack("c", [Nack(token, 1000) for token in others])
    await advance(store, 2000)
    refusing_after(broker, store, 1)
    with pytest.raises(OutcomeUnknown):
        await broker.next("c", ack=[first], nack=[])
    await store.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert (await broker.ack("c", [first])).stale == [first]


CHANGES: dict[str, Callable[[Broker], Awaitable[object]]] = {
    "create a stream": lambda b: b.streams.create(StreamSpec(name="t", kind="events")),
    "change a stream": lambda b: b.streams.update("s", StreamChanges(max_messages=1)),
    "delete a stream": lambda b: b.streams.delete("s", force=True),
    "change a consumer": lambda b: b.consumers.update("c", ConsumerChanges(max_deliver=3)),
    "pause": lambda b: b.consumers.pause("c"),
    "resume": lambda b: b.consumers.resume("c"),
    "reset": lambda b: b.consumers.reset("c", "new"),
    "delete a consumer": lambda b: b.consumers.delete("c"),
}


@pytest.mark.usefixtures("writable")
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_was_made_is_not_answered_503(store: Store, broker: Broker, name: str) -> None:
    await broker.streams.create(StreamSpec(name="s", kind="events"))
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    refusing_after(broker, store, 2 if name.startswith("change") else 1)  # which is looked at first
    with pytest.raises(OutcomeUnknown):
        await CHANGES[name](broker)
