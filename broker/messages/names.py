"""Checks names of streams and consumers (C6), and message ids."""

import re
from typing import Annotated

import msgspec

from broker.errors import InvalidRequest

WHAT_IS_A_NAME = "1-64 of A-Z a-z 0-9 _ . -, but not . or .. alone"
# `.` and `..` are not names, because a URL would resolve them. The second look-ahead is for Python, whose $ also
# matches before a final newline; elsewhere it has no effect.
PATTERN = r"^(?!\.\.?$)[A-Za-z0-9_.-]{1,64}$(?!\n)"
Name = Annotated[str, msgspec.Meta(pattern=PATTERN, description=WHAT_IS_A_NAME)]

_NAME = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9_.-]{1,64}")


def is_name(text: str) -> bool:
    """Whether the text is a valid name."""
    return _NAME.fullmatch(text) is not None


def message_id(text: str, advice: str = "use a cursor that the list gave") -> str:
    """A message id from a caller. InvalidRequest: it is not a message id; `advice` says where to find one."""
    ms, dash, seq = text.partition("-")
    numbers = (ms, seq) if dash else ("", "")
    if not all(n.isascii() and n.isdigit() and len(n) <= 20 and int(n) < 1 << 64 for n in numbers):
        raise InvalidRequest(f"{text[:64]!r} is not a message id; {advice}.")
    return f"{int(ms)}-{int(seq)}"
