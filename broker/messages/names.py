"""Names of streams and consumers (C6), and ids of messages."""

import re
from typing import Annotated

import msgspec

from broker.errors import InvalidRequest

WHAT_IS_A_NAME = "1-64 of A-Z a-z 0-9 _ . -, but not . or .. alone"
# `.` and `..` in an address lead elsewhere, so nothing is named so. The second look-ahead is for Python, whose $ also matches
# before a last line end; elsewhere it says nothing.
PATTERN = r"^(?!\.\.?$)[A-Za-z0-9_.-]{1,64}$(?!\n)"
Name = Annotated[str, msgspec.Meta(pattern=PATTERN, description=WHAT_IS_A_NAME)]

_NAME = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9_.-]{1,64}")


def is_name(text: str) -> bool:
    """Whether the text can be a name at all."""
    return _NAME.fullmatch(text) is not None


def message_id(text: str, advice: str = "use a cursor that the list gave") -> str:
    """A message id as a caller gave it. InvalidRequest: it is none; `advice` tells where to take one from."""
    ms, dash, seq = text.partition("-")
    numbers = (ms, seq) if dash else ("", "")
    if not all(n.isascii() and n.isdigit() and len(n) <= 20 and int(n) < 1 << 64 for n in numbers):
        raise InvalidRequest(f"{text[:64]!r} is not a message id; {advice}.")
    return f"{int(ms)}-{int(seq)}"
