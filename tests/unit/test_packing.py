"""MessagePack of any JSON (C1)."""

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api.bodies.packing import _pack_by_tokens, pack

HUGE = "9" * 309

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_c1_both_ways_give_what_the_json_holds(value: Any, indent: int | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert msgpack.unpackb(_pack_by_tokens(text)) == value
    assert _pack_by_tokens(text) == pack(text.encode())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 18446744073709551615), ("18446744073709551616", 2.0**64), ("-9223372036854775808", -(1 << 63)),
        ("-9223372036854775809", -(2.0**63)), ("-0", 0), (HUGE, math.inf), ("-" + HUGE, -math.inf), ("9" * 5000, math.inf),
        ("1E400", math.inf), ("-1e400", -math.inf), ("1" + "0" * 300, 1e300), ("0." + "3" * 5000, 1 / 3), ("1.50", 1.5),
        (f'{{"a":[{HUGE},{{"]":"}}\\\\\\""}}]}}', {"a": [math.inf, {"]": '}\\"'}]}),
    ],
)  # fmt: skip
def test_c1_numbers_of_any_size_are_packed(text: str, value: Any) -> None:
    assert msgpack.unpackb(pack(text.encode())) == value


def test_c1_nesting_of_any_depth_is_packed() -> None:
    depth = 100_000
    packed = pack(b'{"a":' * depth + b"[]" + b"}" * depth)
    assert packed == b"\x81\xa1a" * depth + b"\x90"


def test_c1_half_a_surrogate_pair_is_packed() -> None:
    assert msgpack.unpackb(pack(f'["\\ud800",{HUGE}]'.encode()), unicode_errors="surrogatepass") == ["\ud800", math.inf]
