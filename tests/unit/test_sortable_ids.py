"""Ids inside zsets: the Lua functions of the prelude and of `filters`, run by Redis itself."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker import Store
from broker.commands.scripts import prelude, read

pytestmark = pytest.mark.anyio

MAX = (1 << 64) - 1
EXACT = 1 << 53  # Lua's numbers are exact up to here

Id = tuple[int, int]
EDGES = [0, 1, 9, 10, 99, 100, 999, 1000, EXACT - 1, EXACT, EXACT + 1, MAX - 1, MAX]
numbers = st.integers(0, MAX) | st.integers(0, 2000) | st.sampled_from(EDGES)
ids: st.SearchStrategy[Id] = st.tuples(numbers, numbers)
exact: st.SearchStrategy[Id] = st.tuples(st.integers(0, EXACT), st.integers(0, EXACT) | st.integers(0, 2))

# The fixture is an empty store, which these tests leave empty, and Redis may take its time.
same_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


async def each(store: Store, function: str, texts: Sequence[str]) -> list[str]:
    """A function over each text."""
    text = f"local out = {{}}\nfor i, text in ipairs(ARGV) do out[i] = {function}(text) end\nreturn out"
    script = "\n".join((prelude(), read("shared/filters"), text))
    return [text.decode() for text in await store.call("EVAL", script, 0, *texts)]


def text_of(id_: Id) -> str:
    """An id as Redis spells it."""
    return f"{id_[0]}-{id_[1]}"


@same_store
@given(st.lists(ids, min_size=1, max_size=50))
@example([(0, 0), (MAX, MAX), (MAX, 0), (0, MAX)])
@example([(ms, seq) for ms in EDGES for seq in EDGES])
async def test_round_trip(store: Store, found: list[Id]) -> None:
    texts = [text_of(id_) for id_ in found]
    assert await each(store, "stream_id", await each(store, "sortable", texts)) == texts


@same_store
@given(st.lists(ids, min_size=2, max_size=50, unique=True))
@example([(MAX, MAX), (0, 0), (MAX, 0), (0, MAX), (9, 10), (10, 9), (9, 9), (10, 10)])
@example([(ms, seq) for ms in reversed(EDGES) for seq in reversed(EDGES)])
async def test_byte_order_is_stream_order(store: Store, found: list[Id]) -> None:
    member_of = dict(zip(found, await each(store, "sortable", [text_of(id_) for id_ in found]), strict=True))
    assert sorted(found) == sorted(found, key=lambda id_: member_of[id_].encode())


async def test_a_zset_has_them_in_stream_order(store: Store) -> None:
    found = [(ms, seq) for ms in EDGES for seq in EDGES]
    members = await each(store, "sortable", [text_of(id_) for id_ in found])
    await store.call("ZADD", "zset", *(part for member in reversed(members) for part in (0, member)))
    assert [member.decode() for member in await store.call("ZRANGE", "zset", 0, -1)] == members
    after = await store.call("ZRANGEBYLEX", "zset", f"({members[3]}", "+", "LIMIT", 0, 2)
    assert [member.decode() for member in after] == members[4:6]


async def test_the_spelling_of_the_wire_contract(store: Store) -> None:
    assert await each(store, "sortable", ["1795458006460-0", "0-0", "10-123"]) == ["M1795458006460A0", "A0A0", "B10C123"]


def before(id_: Id) -> Id:
    """The greatest id before this one; there is none before the first."""
    ms, seq = id_
    if seq:
        return ms, seq - 1
    return (ms - 1, MAX) if ms else (0, 0)


@same_store
@given(st.lists(exact, min_size=1, max_size=50))
@example([(0, 0), (0, 1), (1, 0), (1, 1), (EXACT, 0), (5, EXACT)])
async def test_the_id_before(store: Store, found: list[Id]) -> None:
    assert await each(store, "id_before", [text_of(id_) for id_ in found]) == [text_of(before(id_)) for id_ in found]


@pytest.mark.parametrize("id_", [(5, EXACT + 1), (5, MAX), (EXACT + 1, 0), (MAX, 0), (MAX, MAX)])
async def test_the_id_before_a_very_large_one(store: Store, id_: Id) -> None:
    # Only a plain client that gives ids of its own makes such.
    assert await each(store, "id_before", [text_of(id_)]) == [text_of(before(id_))]
