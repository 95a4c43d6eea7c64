"""Ack tokens: `id.number.epoch`, such as `1795458299238-0.1.9f1c0a7be2d34856`. To a client they are opaque.

The id is the message's, the delivery number grows with every delivery of the message, and the epoch (16 hex digits) names one
life of one consumer, so that a token names one delivery alone (C24). Tokens of one batch share what follows the id, so they
are taken apart together.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from broker.errors import InvalidAckToken

_U64 = 1 << 64
_ID = r"(?:0|[1-9][0-9]{0,18})-(?:0|[1-9][0-9]{0,18})"
# Between two ids.
_BETWEEN = '","'
_IDS = re.compile(rf"(?:{_ID}{_BETWEEN})++")
_TAIL = re.compile(r"([1-9][0-9]{0,14})\.([0-9a-f]{16})")
_LONG_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


class Group(NamedTuple):
    """Tokens of one epoch and delivery number: the ids of their messages as a JSON list, and where each stood in the list."""

    number: str
    epoch: str
    ids: str
    positions: Sequence[int]


def tail(number: int, epoch: str) -> str:
    """What follows the id in the tokens of an epoch and a delivery number."""
    return f".{number}.{epoch}"


def message_of(token: str) -> str:
    """The id of the message whose delivery a token names."""
    return token.partition(".")[0]


def parse(tokens: Sequence[str]) -> list[Group]:
    """Take tokens apart. InvalidAckToken: no delivery ever gave one of these strings."""
    if not tokens:
        return []
    end = tokens[0].partition(".")[2]
    if ids := _ids(tokens, end):  # all of one batch
        return [_group(ids, end, range(len(tokens)))]
    places: dict[str, list[int]] = {}
    for i, token in enumerate(tokens):
        places.setdefault(token.partition(".")[2], []).append(i)
    groups = []
    for end, at in places.items():
        some = [tokens[i] for i in at]
        groups.append(_group(_ids(some, end) or _long_ids(some, end), end, at))
    return groups


def _ids(tokens: Sequence[str], end: str) -> str | None:
    """What comes before a tail in tokens, each followed by _BETWEEN; None: no tail, or not an id of the usual length before it."""
    parts = " ".join([*tokens, ""]).split(f".{end} ")
    ids = _BETWEEN.join(parts)
    whole = len(parts) == len(tokens) + 1 and ids.count(_BETWEEN) == len(tokens)
    return ids if whole and _TAIL.fullmatch(end) and _IDS.fullmatch(ids) else None


def _long_ids(tokens: Sequence[str], end: str) -> str:
    """Likewise of tokens that all have this tail, by one regular expression each, and with ids of any length. InvalidAckToken."""
    ids = [token.removesuffix(f".{end}") for token in tokens]
    for token, found in zip(tokens, map(_LONG_ID.fullmatch, ids), strict=True):
        if not _TAIL.fullmatch(end) or found is None or any(int(field) >= _U64 for field in found.groups()):
            raise InvalidAckToken(f"{token[:64]!r} is not an ack token.")
    return _BETWEEN.join([*ids, ""])


def _group(ids: str, end: str, positions: Sequence[int]) -> Group:
    number, _, epoch = end.partition(".")
    return Group(number, epoch, f'["{ids.removesuffix(_BETWEEN)}"]', positions)
