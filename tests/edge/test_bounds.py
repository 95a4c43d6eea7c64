"""What bounds memory, alone: the ledger of what is held, the caches, and the room for bodies (C52)."""

import asyncio

import pytest

from http_api.bodies.bounded_cache import cached
from http_api.bodies.memory_budget import FREE as SMALL
from http_api.bodies.memory_budget import MemoryBudget
from http_api.edge.memory_limit import FREE, MemoryLimit

pytestmark = pytest.mark.anyio
UNIT = FREE + 1


class Holder:
    def __init__(self) -> None:
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


def test_beyond_the_limit_those_are_cut_that_something_was_held_for_longest() -> None:
    held, holders = MemoryLimit(4 * UNIT), [Holder() for _ in range(6)]
    for holder in holders[:4]:
        held.note(holder, UNIT)
    held.note(holders[0], 0)  # is done
    held.note(holders[1], UNIT)  # no more than before
    held.note(holders[0], UNIT)  # begins again
    assert not any(holder.is_cut for holder in holders)
    held.note(holders[4], 2 * UNIT)
    assert [holder.is_cut for holder in holders] == [False, True, True, False, False, False]
    held.note(holders[5], FREE)  # does not count
    assert [holder.is_cut for holder in holders] == [False, True, True, False, False, False]


def test_one_that_is_alone_is_not_cut() -> None:
    held, holder = MemoryLimit(UNIT), Holder()
    held.note(holder, 9 * UNIT)
    assert not holder.is_cut


@pytest.mark.parametrize("kind", [str, bytes])
def test_only_short_keys_are_remembered(kind: type) -> None:
    asked = []

    def look(key: str) -> int:
        asked.append(len(key))
        return len(key)

    found = cached(look)
    for size in (5, 256, 257, 30_000) * 2:
        assert found("x" * size if kind is str else b"x" * size) == size  # type: ignore[arg-type]
    assert asked == [5, 256, 257, 30_000, 257, 30_000]


async def test_who_finds_no_room_waits_in_line() -> None:
    room = MemoryBudget(100 << 20)
    await room.take(60 << 20)
    large = asyncio.create_task(room.take(50 << 20))
    gone = asyncio.create_task(room.take(1 << 20))
    small = asyncio.create_task(room.take(SMALL))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    assert [large.done(), small.done()] == [False, False]  # nobody is overtaken
    room.give_back(60 << 20)
    await asyncio.gather(large, small)
    assert not room.has(50 << 20)
    room.give_back(50 << 20)
    room.give_back(SMALL)
    assert room.has(100 << 20)
