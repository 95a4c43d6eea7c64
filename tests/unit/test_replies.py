"""The shapes of the scripts' replies: what a Lua header declares is what Python takes apart."""

import re

import pytest

from broker.commands.replies import SHAPES, Again, DeliveryRows, parse_reply
from broker.commands.scripts import names, read
from broker.errors import StoreFault

# A long reply continues on indented lines.
_REPLY = re.compile(r"^-- reply +(.*(?:\n--  +.*)*)$", re.MULTILINE)
DECLARED = {name: found[1].replace("\n--", "") for name in names() if (found := _REPLY.search(read(name)))}


def test_every_declared_reply_has_a_shape() -> None:
    assert DECLARED.keys() == SHAPES.keys()


@pytest.mark.parametrize("command", sorted(SHAPES))
def test_a_shape_is_what_the_header_declares(command: str) -> None:
    head, rows = SHAPES[command]
    fields, _, columns = " ".join(DECLARED[command].split()).partition(" / ")
    assert (fields.split(), columns.split()) == (list(head._fields), list(rows._fields))


def test_a_reply_of_another_shape_is_a_fault() -> None:
    head, rows = parse_reply([0, b"1-0", 1, 1, b"1 r", b"{}"], Again, DeliveryRows)
    assert (head, rows.id, rows.body) == (Again(0), [b"1-0"], [b"{}"])
    for reply in ([], [0, b"1-0"]):
        with pytest.raises(StoreFault):
            parse_reply(reply, Again, DeliveryRows)
