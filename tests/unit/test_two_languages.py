"""What stands in the scripts and in the library is the same in both: letters, the order of fields, times and sizes."""

import re

import pytest

from broker.commands import engine, scripts
from broker.commands.scripts import read
from broker.consumers import fast_read
from broker.messages.stored import LETTERS, EventBody, RecordBody
from broker.streams import confirmation


def test_the_letters_of_absent_fields() -> None:
    found = re.search(r"LACKS = ' \[([a-z]+)\]", read("shared/entries"))
    assert found is not None
    assert set(found[1]) == {letter for letter, _ in LETTERS.values()}
    assert not set("plain") <= set(found[1])  # a plain client's entry is marked by this word


def test_the_fields_with_which_a_body_begins() -> None:
    found = re.search(r"it begins with ([a-z_, ]+) and (\w+), in this order", read("shared/entries"))
    assert found is not None
    order = [*found[1].split(", "), found[2]]
    assert [*EventBody.__struct_fields__[: len(order)]] == order
    assert [*RecordBody.__struct_fields__[: len(order) - 1]] == [name for name in order if name != "key"]


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("shared/due", "SYNC_MS", fast_read._SYNC_MS),
        ("shared/durable", "MARK_MS", confirmation.MARK_MS),
        ("prelude", "MESSAGE_BYTES", engine.MESSAGE_BYTES),
        ("prelude", "MAX_ANSWER_BYTES", scripts.MAX_ANSWER_BYTES),
    ],
)
def test_the_numbers(path: str, name: str, value: int) -> None:
    found = re.search(rf"^local {name} = (\d+)$", read(path), re.MULTILINE)
    assert found is not None
    assert int(found[1]) == value
