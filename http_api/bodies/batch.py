"""JSON of a batch: joins stored bytes without decoding them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from broker.consumers.batches import Batch, DeliveryList
from broker.messages.outgoing import opening

V = TypeVar("V", int, str)
# The number of pieces per delivery.
_PIECES = 8


def batch_json(batch: Batch) -> bytes:
    """The answer of `next`, without the field `settled`."""
    info = b',"info":{"num_pending":%d,"num_ack_pending":%d}}' % (batch.num_pending, batch.num_ack_pending)
    if not batch.deliveries:
        return b'{"data":[]' + info
    pieces = _pieces(batch.deliveries)
    # Each delivery begins by closing the previous one; the first has none to close.
    pieces[0] = b'{"data":[{"ack_token":"'
    pieces += (b"}]", info)
    return b"".join(pieces)


def _pieces(deliveries: DeliveryList) -> list[bytes]:
    """The JSON of deliveries.

    Most pieces are shared objects, so a large batch costs little more than the join.
    """
    pieces = [b'},{"ack_token":"'] * (_PIECES * len(deliveries))
    pieces[1::_PIECES] = pieces[3::_PIECES] = deliveries.ids
    label, begin = deliveries.label.encode(), opening(deliveries.stream)
    pieces[2::_PIECES] = _each(deliveries.tails, lambda tail: b'%b","id":"' % tail.encode())
    pieces[4::_PIECES] = _each(deliveries.counts, lambda count: b'","deliver_count":%d,"%b":%b' % (count, label, begin))
    pieces[5::_PIECES], pieces[6::_PIECES], pieces[7::_PIECES] = deliveries.messages
    return pieces


def _each(values: Sequence[V], text: Callable[[V], bytes]) -> list[bytes]:
    """A text for each value, made once for equal values. Usually all are equal."""
    texts: dict[V, bytes] = {value: text(value) for value in set(values)}
    return list(map(texts.__getitem__, values)) if len(texts) > 1 else [*texts.values()] * len(values)
