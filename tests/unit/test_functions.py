"""The library of functions as a text: what must hold of the Lua files for it to be the same broker as the scripts."""

import re
from collections import Counter
from itertools import pairwise

import pytest

from broker.commands.functions import LIBRARY, digest_of, function_name, library, same, shared_order
from broker.commands.scripts import LUA, names, prelude, read, uses

SHARED = sorted(path.stem for path in (LUA / "shared").glob("*.lua"))
LISTS = [uses(read(command)) for command in names()]
_LOCAL = re.compile(r"^local (function )?(.+?)(?: =.*|\(.*)?$", re.MULTILINE)


def test_it_names_itself_and_has_every_file_once() -> None:
    text = library()
    assert text.startswith(f"#!lua name={LIBRARY}\n-- digest: {digest_of(text)}\n")
    for file in [prelude(), *(read(f"shared/{part}") for part in SHARED), *(read(command) for command in names())]:
        assert text.count(file) == 1
    assert [text.count(f"'{function_name(command)}'") for command in names()] == [1] * len(names())


def test_the_shared_files_stand_in_an_order_that_every_command_asks_for() -> None:
    order = shared_order(LISTS)
    assert sorted(order) == SHARED
    for parts in LISTS:
        assert all(order.index(before) < order.index(part) for before, part in pairwise(parts))


def test_commands_that_want_different_orders_are_refused() -> None:
    assert shared_order([["b", "a"], ["c", "b"], []]) == ["c", "b", "a"]
    with pytest.raises(ValueError, match="different orders"):
        shared_order([["a", "b"], ["b", "c"], ["c", "a"]])


def top_level(text: str) -> list[tuple[bool, str]]:
    """The names that stand for the whole library, and whether each is a function."""
    return [(bool(function), name) for function, names in _LOCAL.findall(text) for name in names.split(", ")]


def test_no_two_files_define_the_same_name_nor_too_many() -> None:
    found = Counter(name for text in [prelude(), *(read(f"shared/{part}") for part in SHARED)] for _, name in top_level(text))
    assert [name for name, count in found.items() if count > 1] == []
    assert 50 < len(found) < 190, "Lua allows 200 local variables at the top of a chunk"


@pytest.mark.parametrize("text", [prelude(), *(read(f"shared/{part}") for part in SHARED)], ids=["prelude", *SHARED])
def test_nothing_is_remembered_from_call_to_call(text: str) -> None:
    """A script starts fresh at each call, a library does not: its top level has only functions and constants."""
    for is_function, name in top_level(text):
        assert is_function or name == name.upper(), name
    assert not re.search(r"\b(KEYS|ARGV)\b", re.sub(r"--.*", "", text)), "functions have no such globals"


def test_a_change_of_any_file_changes_the_digest() -> None:
    changed = library(prelude() + "-- a comment\n")
    assert digest_of(changed) != digest_of(library())
    assert not same(changed)
    assert same(library()) and same(library().rstrip("\n"))
    assert digest_of("#!lua name=broker_v1\n") is None
