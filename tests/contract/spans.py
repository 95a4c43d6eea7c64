"""What the tests of a stepping clock share: how far it steps, and how long what waits for a span is delayed (C22)."""

from collections.abc import Awaitable, Callable

from tests.conftest import Clock
from tests.contract.helpers import counted
from tests.support.api import Api

HOUR = 3_600_000
SPAN = 10_000  # of ack waits, delays and backoff here
STEPS = [-20_000, -HOUR]


async def when(clock: Clock, happened: Callable[[], Awaitable[bool]], every: int = SPAN // 5, within: int = 10 * SPAN) -> int:
    """How many ms pass until it has happened, looked at now and then."""
    elapsed = 0
    while not await happened():
        assert elapsed < within, "it did not happen"
        await clock.advance(every)
        elapsed += every
    return elapsed


def delivered(api: Api, count: int, deliver_count: int = 2) -> Callable[[], Awaitable[bool]]:
    """Whether `next` gives so many again, all at once."""

    async def look() -> bool:
        batch = await api.next("c", 100)
        found = [number for _, number in counted(batch)]
        assert found in ([], [deliver_count] * count)
        return found != []

    return look


async def one_span_more(clock: Clock, step: int, span: int, happened: Callable[[], Awaitable[bool]]) -> None:
    """The clock steps back after half of a span: what waits for the span happens within one more span at most."""
    assert not await happened()
    await clock.advance(span // 2)
    assert not await happened()
    await clock.advance(step)
    elapsed = span // 2 + await when(clock, happened, span // 5)
    assert span <= elapsed <= 2 * span
