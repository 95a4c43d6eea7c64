"""What a fetch gave, as columns, is a sequence of deliveries like any other."""

import pytest

from broker.delivery import Delivery, Given

BODY = (b"7", b',"inserted_at":"1970-01-01T00:00:00.001Z",', b'"id":"e","data":1}')
ROWS = ((b"1-0", 1, 1, BODY), (b"1-1", 2, 1, BODY), (b"2-0", 3, 2, BODY))
GIVEN = Given("events", "event", 1795458299271261, ROWS)


def test_it_is_a_sequence() -> None:
    first, second, third = GIVEN
    assert [second.id, second.ack_token, second.deliver_count, second.label] == ["1-1", "1-1.2.1795458299271261", 1, "event"]
    assert first.json == b'{"stream_id":"events","updated_idx":7,"inserted_at":"1970-01-01T00:00:00.001Z","id":"e","data":1}'
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
