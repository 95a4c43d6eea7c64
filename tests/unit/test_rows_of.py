"""The rows of a list are read a few at once."""

import asyncio

import pytest

from broker.commands.engine import ROWS_AT_ONCE, rows_of
from broker.errors import ConsumerNotFound, StoreUnavailable

pytestmark = pytest.mark.anyio
NAMES = [str(n) for n in range(100)]


async def test_rows_come_in_order_and_few_are_read_at_once() -> None:
    reading, most = set[str](), 0

    async def read(name: str) -> str:
        nonlocal most
        reading.add(name)
        most = max(most, len(reading))
        for _ in range(3 - int(name) % 3):  # later ones end first
            await asyncio.sleep(0)
        reading.discard(name)
        return name

    assert [row async for row in rows_of(NAMES, read, ConsumerNotFound)] == NAMES
    assert most == ROWS_AT_ONCE


async def test_no_more_is_read_than_the_rows_that_are_asked_for() -> None:
    read = list[str]()

    async def note(name: str) -> str:
        read.append(name)
        return name

    async for row in rows_of(NAMES, note, ConsumerNotFound):
        if row == "3":
            break
    assert read == NAMES[:ROWS_AT_ONCE]


async def test_missing_rows_are_left_out_and_other_errors_are_raised() -> None:
    async def read(name: str) -> str:
        if int(name) % 2:
            raise ConsumerNotFound("gone")
        if name == "80":
            raise StoreUnavailable("away")
        return name

    found = []
    with pytest.raises(StoreUnavailable):
        async for row in rows_of(NAMES, read, ConsumerNotFound):
            found.append(row)
    assert found == NAMES[:80:2]
