"""What a fetch gave, as columns, is a sequence of deliveries like any other."""

import msgspec
import pytest

from broker.consumers.batches import Batch, Delivery, DeliveryList
from broker.messages.outgoing import columns
from http_api.bodies.batch import batch_json

TAILS, COUNTS = [f".{number}.1795458299271261" for number in (1, 2, 3)], [1, 1, 2]
BODIES = [b'{"id":"e","data":1}', b'{"id":"f","data":2}', b'{"id":"g","data":3}']
IDS = [b"1-0", b"1-1", b"2-0"]
GIVEN = DeliveryList("events", "event", IDS, TAILS, COUNTS, columns("events", IDS, [b"7 k", b"8 k", b"9 "], BODIES))


def test_it_is_a_sequence() -> None:
    first, second, third = GIVEN
    assert [second.id, second.ack_token, second.deliver_count, second.label] == ["1-1", "1-1.2.1795458299271261", 1, "event"]
    assert first.json == b'{"stream_id":"events","updated_idx":7,"inserted_at":"1970-01-01T00:00:00.001Z","key":null,"id":"e","data":1}'
    assert (GIVEN[0], GIVEN[-1], len(GIVEN)) == (first, third, 3)
    assert GIVEN[1:] == [second, third]
    assert [first, second, third] == GIVEN
    assert second in GIVEN
    assert GIVEN.share(1, 3) == [second, third]
    assert [first] != GIVEN
    assert GIVEN != 3
    assert repr(GIVEN) == repr([first, second, third])
    for index in (3, -4):
        with pytest.raises(IndexError):
            GIVEN[index]


@pytest.mark.parametrize("given", [GIVEN, GIVEN.share(1, 3), GIVEN.share(2, 3), DeliveryList()])
def test_the_api_shows_the_same_deliveries(given: DeliveryList) -> None:
    answer = msgspec.json.decode(batch_json(Batch(given, num_pending=4, num_ack_pending=5)))
    assert answer["info"] == {"num_pending": 4, "num_ack_pending": 5}
    assert answer["data"] == [
        {"ack_token": d.ack_token, "id": d.id, "deliver_count": d.deliver_count, "event": msgspec.json.decode(d.json)} for d in given
    ]


def test_nothing_was_given() -> None:
    empty = DeliveryList()
    assert not empty
    assert list[Delivery](empty) == []
    assert empty == GIVEN.share(3, 4)
