"""Times and durations as the API spells them (C5)."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages.outgoing import complete
from broker.messages.times import duration_ms, exact_microseconds, microseconds, rfc3339

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = 253_402_300_799_999  # the last ms of the year 9999
UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=offsets)


@given(st.integers(0, LAST_MS))
def test_rfc3339_round_trip(ms: int) -> None:
    text = rfc3339(ms)
    assert len(text) == 24 and text.endswith("Z")
    assert microseconds(text) == ms * 1000


@given(st.integers(0, LAST_MS), st.integers(0, LAST_MS))
def test_rfc3339_keeps_the_order(one: int, other: int) -> None:
    assert (rfc3339(one) < rfc3339(other)) == (one < other)


@given(moments)
def test_microseconds_of_any_offset(moment: datetime) -> None:
    assert microseconds(moment.isoformat()) == (moment - EPOCH) // timedelta(microseconds=1)


@given(moments, st.text("0123456789", min_size=1, max_size=12))
def test_microseconds_cuts_what_is_finer(moment: datetime, fraction: str) -> None:
    whole = moment.replace(microsecond=0).isoformat()
    text = f"{whole[:19]}.{fraction}{whole[19:]}"
    assert microseconds(text) == microseconds(whole) + int(fraction.ljust(6, "0")[:6])


@given(moments, st.text("0123456789", min_size=1, max_size=20))
def test_c15_exact_microseconds_lose_nothing(moment: datetime, fraction: str) -> None:
    whole = moment.replace(microsecond=0).isoformat()
    number, _, rest = exact_microseconds(f"{whole[:19]}.{fraction}{whole[19:]}").partition(".")
    assert int(number) == microseconds(whole) + int(fraction.ljust(6, "0")[:6])
    assert rest == fraction[6:].rstrip("0")


@pytest.mark.parametrize("text", ["2016-12-31T23:59:60Z", "2016-12-31T15:59:60.5-08:00", "2017-01-01T05:29:60.999999999+05:30"])
def test_c5_a_leap_second_lies_between_its_minute_and_the_next_day(text: str) -> None:
    assert microseconds("2016-12-31T23:59:59.999998Z") < microseconds(text) < microseconds("2017-01-01T00:00:00Z")
    assert exact_microseconds(text) > exact_microseconds("2016-12-31T23:59:59.999999999Z")


@pytest.mark.parametrize("text", ["2026-01-31T12:00:60Z", "2026-01-31T23:59:60+01:00", "2026-01-31T23:59:61Z"])
def test_c5_what_is_no_leap_second(text: str) -> None:
    with pytest.raises(ValueError, match="time that there is"):
        microseconds(text)


def test_spellings_of_one_moment() -> None:
    spellings = [
        "2026-01-31T12:00:00Z", "2026-01-31t12:00:00z", "2026-01-31T12:00:00.0Z", "2026-01-31T14:00:00+02:00",
        "2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00.000000000+00:00",
    ]  # fmt: skip
    assert {microseconds(text) for text in spellings} == {1_769_860_800_000_000}


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-01-31", "12:00:00Z", "2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00+02", "2026-01-31T12:00:00+0200",
        "2026-01-31T12:00:00+24:00", "2026-02-30T12:00:00Z", "2026-01-31T24:00:00Z", "0000-01-01T00:00:00Z",
        "2026-01-31T12:00:00Z\n", " 2026-01-31T12:00:00Z", "+2026-01-31T12:00:00Z", "20260131T120000Z", "1769860800",
        "\uff12\uff10\uff12\uff16-01-31T12:00:00Z", "2026-01-31T12:00:00.\u0663Z",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        microseconds(text)


@given(st.integers(0, 10**12 - 1), st.sampled_from(list(UNIT_MS)))
def test_durations(number: int, unit: str) -> None:
    assert duration_ms(f"{number}{unit}") == number * UNIT_MS[unit]


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "5S", "-5s", "+5s", "1.5s", "5s\n", "5sec", "1h30m", "5us", "\u0663s", "1" * 13 + "s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number followed by one of ms, s, m, h, d"):
        duration_ms(text)


def test_only_the_units_that_are_asked_for() -> None:
    assert duration_ms("5m", "s|m|h|d") == 300_000
    with pytest.raises(ValueError, match="one of s, m, h, d"):
        duration_ms("5ms", "s|m|h|d")


@pytest.mark.parametrize("ms", [0, 1, LAST_MS, LAST_MS + 1, (1 << 64) - 1])
def test_a_plain_entry_with_any_id_can_be_delivered(ms: int) -> None:
    # A plain client's XADD may choose the id: one that cannot be shown would block every consumer.
    message = msgspec.json.decode(complete("events", [f"{ms}-0".encode()], [b"1 plain"], [b'["collection_id","a:b","data","1"]'])[0])
    assert message["data"] == 1
