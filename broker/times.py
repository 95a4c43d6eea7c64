"""Times and durations as the API spells them (C5)."""

import re
from datetime import UTC, datetime
from functools import lru_cache

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)", re.ASCII)
_LAST_MS = 253_402_300_799_999
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as `2026-01-31T12:00:00.123Z`. Later years than 9999 have no such spelling: their end."""
    seconds, rest = divmod(min(ms, _LAST_MS), 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def microseconds(text: str) -> int:
    """An RFC 3339 time, any offset, as microseconds since the epoch. ValueError: it is none."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z")
    whole, fraction, offset = re.fullmatch(r"(.{19})(\.\d+)?(.+)", text.upper()).groups()  # type: ignore[union-attr]
    moment = datetime.fromisoformat(whole + (offset if offset != "Z" else "+00:00"))
    return round(moment.timestamp()) * 1_000_000 + int(((fraction or ".0")[1:] + "000000")[:6])


def duration_ms(text: str, units: str = "ms|s|m|h|d") -> int:
    """A duration such as `500ms` or `15m` in ms. ValueError: it is none, or of another unit than `units` lists."""
    match = _DURATION.fullmatch(text)
    if not match or match.group(2) not in units.split("|"):
        raise ValueError(f"must be a number followed by one of {units.replace('|', ', ')}")
    return int(match.group(1)) * _UNIT_MS[match.group(2)]
