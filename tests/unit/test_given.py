"""What a fetch gave, as columns, is a sequence of deliveries like any other."""

import pytest

from broker.delivery import Delivery, Given

BODY = b'{"collection_id":"a:b","id":"e","provider":"a","event":"created","data":1}'
GIVEN = Given("events", 1795458299271261, (b"1-0", b"1-1", b"2-0"), (1, 2, 3), (1, 1, 2), (b"7 ruab",) * 3, (BODY,) * 3)


def test_it_is_a_sequence() -> None:
    first, second, third = GIVEN
    assert [second.id, second.ack_token, second.deliver_count, second.label] == ["1-1", "1-1.2.1795458299271261", 1, "event"]
    assert b'"updated_idx":7,' in first.json
    assert (GIVEN[0], GIVEN[-1], len(GIVEN)) == (first, third, 3)
    assert GIVEN[1:] == [second, third]
    assert [first, second, third] == GIVEN
    assert second in GIVEN
    assert [first] != GIVEN
    assert GIVEN != 3
    assert repr(GIVEN[:1]) == repr([first])
    for index in (3, -4):
        with pytest.raises(IndexError):
            GIVEN[index]


def test_nothing_was_given() -> None:
    empty = Given()
    assert not empty
    assert list[Delivery](empty) == []
    assert empty == GIVEN[3:]
