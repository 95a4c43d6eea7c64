"""Parses and formats the API's times and durations (C5)."""

import re
from datetime import UTC, datetime
from functools import lru_cache

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:)(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h|d)", re.ASCII)
_LEAP = "9" * 18
_LAST_MS = 253_402_300_799_999
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as `2026-01-31T12:00:00.123Z`.

    Years after 9999 become the end of 9999.
    """
    seconds, rest = divmod(min(ms, _LAST_MS), 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def microseconds(text: str) -> int:
    """An RFC 3339 time, any offset, as microseconds since the epoch, rounded down. ValueError: another text."""
    seconds, fraction = _instant(text)
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def exact_microseconds(text: str) -> str:
    """The same without rounding: microseconds, then a point and the further digits, if any, without trailing zeros."""
    seconds, fraction = _instant(text)
    whole, rest = seconds * 1_000_000 + int(fraction[:6].ljust(6, "0")), fraction[6:].rstrip("0")
    return f"{whole}.{rest}" if rest else str(whole)


def _instant(text: str) -> tuple[int, str]:
    """Seconds since the epoch, and the digits of their fraction. ValueError."""
    match = _RFC3339.fullmatch(text.upper())
    if not match:
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z")
    minute, second, fraction, offset = match.groups(default="")
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(minute + ("59" if leap else second) + offset.replace("Z", "+00:00"))
    except ValueError as exc:
        raise ValueError("must be a time that there is, with an offset of less than a day") from exc
    seconds = round(moment.timestamp())
    if leap:
        if seconds % 86_400 != 86_399:
            raise ValueError("must be a time that there is: a leap second is 23:59:60 in UTC")
        # Between the previous second and the next day: a later version must not look like an older one.
        fraction = _LEAP + fraction
    return seconds, fraction


def duration_ms(text: str, units: str = "ms|s|m|h|d") -> int:
    """A duration such as `500ms` or `15m` in ms. ValueError: another text, or a unit that `units` lacks."""
    match = _DURATION.fullmatch(text)
    if not match or match.group(2) not in units.split("|"):
        raise ValueError(f"must be a number followed by one of {units.replace('|', ', ')}")
    return int(match.group(1)) * _UNIT_MS[match.group(2)]
