"""The letters of absent fields stand in the library and in the scripts, and no word of ours may be made of them."""

import re

from broker.commands.scripts import read
from broker.messages.stored import LETTERS


def test_the_scripts_know_the_letters() -> None:
    found = re.search(r"LACKS = ' \[([a-z]+)\]", read("shared/entries"))
    assert found is not None
    assert set(found[1]) == {letter for letter, _ in LETTERS.values()}
    assert not set("plain") <= set(found[1])
