"""Ack tokens: base64url, without padding, of the MessagePack array [epoch, ms, seq, delivery number].

The epoch is the consumer's, ms-seq the message's id, and the delivery number grows with every delivery of the message,
so that a token names one delivery alone (C24).
"""

import base64
import binascii
from typing import NamedTuple

import msgpack

from broker.errors import InvalidAckToken

_U64 = 1 << 64


class Delivered(NamedTuple):
    """What a token says."""

    epoch: int
    id: str
    number: int


def encode(epoch: int, message_id: str, number: int) -> str:
    """The token of one delivery."""
    ms, _, seq = message_id.partition("-")
    packed = msgpack.packb((epoch, int(ms), int(seq), number))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode(token: str) -> Delivered:
    """What the token says. InvalidAckToken: no delivery ever gave this string."""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        epoch, ms, seq, number = msgpack.unpackb(packed)
        fields = (epoch, ms, seq, number)
        if all(type(field) is int and 0 <= field < _U64 for field in fields):
            message_id = f"{ms}-{seq}"
            if encode(epoch, message_id, number) == token:
                return Delivered(epoch, message_id, number)
    except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
        pass
    raise InvalidAckToken(f"{token[:64]!r} is not an ack token.")
