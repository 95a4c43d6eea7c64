"""Ack tokens: `id.number.epoch`, such as `1795458299238-0.1.1795458299271261`. To a client they are opaque.

The id is the message's, the delivery number grows with every delivery of the message, and the epoch is the consumer's (16
digits), so that a token names one delivery alone (C24). Tokens of one batch share what stands behind the id, so they
are taken apart together.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from broker.errors import InvalidAckToken

_U64 = 1 << 64
_ID = r"(?:0|[1-9][0-9]{0,18})-(?:0|[1-9][0-9]{0,18})"
_IDS = re.compile(rf"(?:{_ID} )++")
_TAIL = re.compile(r"([1-9][0-9]{0,14})\.([1-9][0-9]{15})")
_LONG_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


class Group(NamedTuple):
    """Tokens of one epoch and delivery number: the ids of their messages with a space between, and where each stood in the list."""

    number: str
    epoch: str
    ids: str
    positions: Sequence[int]


def tail(number: int, epoch: int) -> str:
    """What stands behind the id in the tokens of an epoch and a delivery number."""
    return f".{number}.{epoch}"


def encode(epoch: int, message_id: str, number: int) -> str:
    """The token of one delivery."""
    return message_id + tail(number, epoch)


def parse(tokens: Sequence[str]) -> list[Group]:
    """Take tokens apart. InvalidAckToken: no delivery ever gave one of these strings."""
    if not tokens:
        return []
    end = tokens[0].partition(".")[2]
    if " ".join([*tokens, ""]).count(f".{end} ") == len(tokens):  # all of one batch
        return [_group(tokens, end, range(len(tokens)))]
    places: dict[str, list[int]] = {}
    for i, token in enumerate(tokens):
        places.setdefault(token.partition(".")[2], []).append(i)
    return [_group([tokens[i] for i in at], end, at) for end, at in places.items()]


def _group(tokens: Sequence[str], end: str, positions: Sequence[int]) -> Group:
    match, ids = _TAIL.fullmatch(end), " ".join([*tokens, ""]).replace(f".{end} ", " ")
    if match is None or _IDS.fullmatch(ids) is None or ids.count(" ") != len(tokens):
        for token in tokens:
            long = _LONG_ID.fullmatch(token.removesuffix(f".{end}"))
            if match is None or long is None or any(int(field) >= _U64 for field in long.groups()):
                raise InvalidAckToken(f"{token[:64]!r} is not an ack token.")
    assert match is not None  # noqa: S101 - the loop above saw to it
    return Group(match[1], match[2], ids.removesuffix(" "), positions)
