"""A real server, the scripts that users run, and a clock that is set back under them (C22)."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest

from broker import Broker, ConsumerSpec, Filters, Nack, Store, StreamSpec
from broker.store.embedded import Embedded
from tests.support.servers import BACKENDS, running
from tests.support.stepping import COMPILER, SteppingClock

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="no C compiler"),
]
STEPS = [-20_000, -3_600_000]
SPAN = 1000
LONG_ENOUGH_S = 10.0  # two spans, and a slow machine; the smaller step would delay by 20 s
KINDS = {
    "c": ConsumerSpec(stream_id="events"),
    "records": ConsumerSpec(stream_id="records"),
    "filtered": ConsumerSpec(stream_id="events", filters=Filters(provider="a")),
    "key": ConsumerSpec(stream_id="events", ordering="key"),
}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteppingClock]:
    """A clock that no other server has."""
    clock = SteppingClock(tmp_path_factory.mktemp("clock"))
    yield clock
    clock.close()


@pytest.fixture(scope="module", params=BACKENDS)
def server(clock: SteppingClock, request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A server that has it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clock.environment.items():
            patch.setenv(name, value)
        starting = running(request.param)
        server = starting.__enter__()
    try:
        yield server
    finally:
        starting.__exit__(None, None, None)


@pytest.fixture
async def broker(server: Embedded) -> AsyncIterator[Broker]:
    """A broker as users have it, over an empty store."""
    async with Broker(Store.from_url(server.url)) as broker:
        await broker.store.call("FLUSHALL")
        await broker.start()
        yield broker


async def publish(broker: Broker, count: int, stream: str = "events", **fields: Any) -> None:
    await broker.publish(stream, [{"collection_id": "a:b", "upstream_id": str(n), "data": n} | fields for n in range(count)])


async def soon(happened: Callable[[], Awaitable[bool]]) -> float:
    """Look until it has happened; how many seconds that took."""
    began = time.monotonic()
    while not await happened():
        assert time.monotonic() - began < LONG_ENOUGH_S, "it did not happen"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def consumers(broker: Broker) -> None:
    """One of each kind, with messages for all."""
    for name, spec in KINDS.items():
        await broker.consumers.create(msgspec.structs.replace(spec, name=name, ack_wait_ms=SPAN))
    for stream in ("events", "records"):
        await publish(broker, 20, stream)


def delivered(broker: Broker, count: int, deliver_count: int = 2, name: str = "c") -> Callable[[], Awaitable[bool]]:
    """Whether `next` has given so many again."""
    seen: list[int] = []

    async def look() -> bool:
        seen.extend(d.deliver_count for d in (await broker.next(name, 100)).deliveries)
        assert set(seen) <= {deliver_count}
        return len(seen) == count

    return look


async def set_clock(broker: Broker, clock: SteppingClock, step: int) -> None:
    """Set the clock forward or back, and wait until the server shows it: Valkey reads the time of day only at times."""
    before = int((await broker.store.call("TIME"))[0])
    clock.step(step)

    async def shown() -> bool:
        after = int((await broker.store.call("TIME"))[0])
        return abs(before + step // 1000 - after) < LONG_ENOUGH_S

    await soon(shown)


@pytest.mark.parametrize("step", STEPS)
async def test_c22_an_ack_wait_of_a_second_is_over_soon_after_the_clock_was_set_back(
    broker: Broker, clock: SteppingClock, step: int
) -> None:
    await consumers(broker)
    for name in KINDS:
        for _ in range(2):
            assert len((await broker.next(name, 10)).deliveries) == 10
    for deliver_count in (2, 3):
        await set_clock(broker, clock, step)
        await asyncio.gather(*(soon(delivered(broker, 20, deliver_count, name)) for name in KINDS))
        assert [(await broker.consumers.get(name)).info.num_redelivered for name in KINDS] == [20] * len(KINDS)


@pytest.mark.parametrize("step", STEPS)
async def test_c22_a_delay_and_an_extension_of_a_second_are_over_soon_after_the_clock_was_set_back(
    broker: Broker, clock: SteppingClock, step: int
) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ack_wait_ms=SPAN))
    await publish(broker, 4)
    given = [d.ack_token for d in (await broker.next("c", 4)).deliveries]
    await broker.nack("c", [Nack(token, SPAN) for token in given[:2]])
    await broker.extend("c", given[2:])
    await set_clock(broker, clock, step)
    await soon(delivered(broker, 4))


@pytest.mark.parametrize("step", STEPS)
async def test_c22_a_waiting_call_is_answered_soon_after_the_clock_was_set_back(broker: Broker, clock: SteppingClock, step: int) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ack_wait_ms=SPAN))
    await publish(broker, 1)
    await broker.next("c")
    call = asyncio.ensure_future(broker.next("c", wait_ms=60_000))
    await broker.consumers.get("c")
    await set_clock(broker, clock, step)
    batch = await asyncio.wait_for(call, LONG_ENOUGH_S)
    assert [d.deliver_count for d in batch.deliveries] == [2]
    call = asyncio.ensure_future(broker.next("c", wait_ms=60_000))
    await broker.consumers.get("c")
    await set_clock(broker, clock, step)
    await publish(broker, 1)
    assert [d.deliver_count for d in (await asyncio.wait_for(call, LONG_ENOUGH_S)).deliveries]


@pytest.mark.parametrize("step", STEPS)
async def test_c22_windows_lives_and_ages_of_a_second_are_over_soon_after_the_clock_was_set_back(
    broker: Broker, clock: SteppingClock, step: int
) -> None:
    await broker.streams.create(StreamSpec(name="s", kind="events", dedupe_window_ms=SPAN))
    await broker.streams.create(StreamSpec(name="aged", kind="events", max_age_ms=SPAN))
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    await publish(broker, 1, "s", id="e", ttl_ms=SPAN)
    await publish(broker, 3, "aged")
    await set_clock(broker, clock, step)

    async def lapsed() -> bool:
        return (await broker.consumers.get("c")).info.num_pending == 0

    async def is_new() -> bool:
        return [row.status for row in await broker.publish("s", [{"collection_id": "a:b", "data": 1, "id": "e"}])] == ["created"]

    async def gone() -> bool:
        return (await broker.streams.messages("aged")).messages == []

    await soon(lapsed)
    await soon(is_new)
    await soon(gone)


async def test_c22_what_was_delivered_in_an_hour_that_was_taken_back_comes_again_soon(broker: Broker, clock: SteppingClock) -> None:
    await set_clock(broker, clock, 3_600_000)
    await consumers(broker)
    for name in KINDS:
        given = [d.ack_token for d in (await broker.next(name, 20)).deliveries]
        await broker.nack(name, [Nack(token, SPAN) for token in given[:5]])
    await set_clock(broker, clock, -3_600_000)
    await asyncio.gather(*(soon(delivered(broker, 20, 2, name)) for name in KINDS))


async def test_c22_an_ack_wait_is_not_shorter_for_what_is_delivered_after_the_clock_was_set_back(
    broker: Broker, clock: SteppingClock
) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ack_wait_ms=2 * SPAN))
    await publish(broker, 20)
    await broker.next("c", 10)
    await set_clock(broker, clock, -20_000)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    assert [d.deliver_count for d in (await broker.next("c", 10)).deliveries] == [1] * 10
    seen: dict[str, float] = {}

    async def all_again() -> bool:
        for d in (await broker.next("c", 100)).deliveries:
            seen.setdefault(d.id, time.monotonic() - began)
        return len(seen) == 20

    await soon(all_again)
    assert min(sorted(seen.values())[10:]) >= 2.0
