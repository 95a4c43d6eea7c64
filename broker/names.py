"""Names of streams and consumers (C6)."""

import re
from typing import Annotated

import msgspec

WHAT_IS_A_NAME = "1-64 of A-Z a-z 0-9 _ . -, but not . or .. alone"
# `.` and `..` in an address lead elsewhere, so nothing is named so. The second look-ahead is for Python, whose $ also matches
# before a last line end; elsewhere it says nothing.
PATTERN = r"^(?!\.\.?$)[A-Za-z0-9_.-]{1,64}$(?!\n)"
Name = Annotated[str, msgspec.Meta(pattern=PATTERN, description=WHAT_IS_A_NAME)]

_NAME = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9_.-]{1,64}")


def is_name(text: str) -> bool:
    """Whether the text can be a name at all."""
    return _NAME.fullmatch(text) is not None
