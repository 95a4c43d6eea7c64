"""Ack tokens: `id.number.epoch`, such as `1795458299238-0.1.9f1c0a7be2d34856`. Clients treat them as opaque.

The id names the message. The delivery number grows with every delivery of the message. The epoch (16 hex digits)
changes whenever a consumer is created or reset. So a token names exactly one delivery (C24). The tokens of a batch
share everything after the id, so they are parsed together.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from broker.errors import InvalidAckToken

_U64 = 1 << 64
_ID = r"(?:0|[1-9][0-9]{0,18})-(?:0|[1-9][0-9]{0,18})"
# Separates two ids in a JSON list.
_SEPARATOR = '","'
_IDS = re.compile(rf"(?:{_ID}{_SEPARATOR})++")
_TAIL = re.compile(r"([1-9][0-9]{0,14})\.([0-9a-f]{16})")
_LONG_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")


class Group(NamedTuple):
    """Tokens of one epoch and delivery number: message ids as a JSON list, and each token's position in the input."""

    number: str
    epoch: str
    ids: str
    positions: Sequence[int]


def tail(number: int, epoch: str) -> str:
    """The part of a token after the message id."""
    return f".{number}.{epoch}"


def message_of(token: str) -> str:
    """The message id of a token."""
    return token.partition(".")[0]


def parse(tokens: Sequence[str]) -> list[Group]:
    """Parse tokens. InvalidAckToken: one of the strings is not an ack token."""
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
    """The ids of tokens with this tail, joined by _SEPARATOR. None: a tail differs, or an id has an unusual length."""
    parts = " ".join([*tokens, ""]).split(f".{end} ")
    ids = _SEPARATOR.join(parts)
    whole = len(parts) == len(tokens) + 1 and ids.count(_SEPARATOR) == len(tokens)
    return ids if whole and _TAIL.fullmatch(end) and _IDS.fullmatch(ids) else None


def _long_ids(tokens: Sequence[str], end: str) -> str:
    """The ids of tokens that all have this tail, with ids of any length; slower than `_ids`.

    InvalidAckToken.
    """
    ids = [token.removesuffix(f".{end}") for token in tokens]
    for token, found in zip(tokens, map(_LONG_ID.fullmatch, ids), strict=True):
        if not _TAIL.fullmatch(end) or found is None or any(int(field) >= _U64 for field in found.groups()):
            raise InvalidAckToken(f"{token[:64]!r} is not an ack token.")
    return _SEPARATOR.join([*ids, ""])


def _group(ids: str, end: str, positions: Sequence[int]) -> Group:
    number, _, epoch = end.partition(".")
    return Group(number, epoch, f'["{ids.removesuffix(_SEPARATOR)}"]', positions)
