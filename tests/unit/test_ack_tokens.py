"""Ack tokens: every delivery has one spelling, and no other string is a token (C24)."""

import base64
import string
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.ack_tokens import Delivered, decode, encode
from broker.errors import InvalidAckToken

u64 = st.integers(0, (1 << 64) - 1) | st.integers(0, 300)
deliveries = st.builds(lambda epoch, ms, seq, number: Delivered(epoch, f"{ms}-{seq}", number), u64, u64, u64, u64)
ALPHABET = string.ascii_letters + string.digits + "-_"


def spelled(packed: bytes) -> str:
    """Bytes as a token spells them."""
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def refused(token: str) -> None:
    """The string is no token."""
    with pytest.raises(InvalidAckToken):
        decode(token)


@given(deliveries)
@example(Delivered(0, "0-0", 0))
@example(Delivered((1 << 64) - 1, f"{(1 << 64) - 1}-{(1 << 64) - 1}", (1 << 64) - 1))
def test_round_trip(delivery: Delivered) -> None:
    token = encode(*delivery)
    assert decode(token) == delivery
    assert set(token) <= set(ALPHABET)


def test_the_spelling_of_the_wire_contract() -> None:
    assert encode(1, "2-3", 4) == spelled(msgpack.packb([1, 2, 3, 4])) == "lAECAwQ"
    assert decode("lAECAwQ") == (1, "2-3", 4)


@given(deliveries, deliveries)
def test_two_deliveries_have_two_tokens(one: Delivered, other: Delivered) -> None:
    assert (encode(*one) == encode(*other)) == (one == other)


@given(deliveries, st.data())
def test_a_changed_token_is_refused_or_names_another_delivery(delivery: Delivered, data: st.DataObject) -> None:
    token = encode(*delivery)
    at = data.draw(st.integers(0, len(token) - 1))
    changed = token[:at] + data.draw(st.sampled_from(ALPHABET + "+/=. \n").filter(lambda c: c != token[at])) + token[at + 1 :]
    try:
        found = decode(changed)
    except InvalidAckToken:
        return
    assert found != delivery
    assert encode(*found) == changed


@given(deliveries, st.sampled_from(["=", "==", "A", " ", "\n", "-", "\0"]))
def test_anything_around_a_token_is_refused(delivery: Delivered, more: str) -> None:
    refused(encode(*delivery) + more)
    refused(more + encode(*delivery))


@given(deliveries)
def test_a_part_of_a_token_is_refused(delivery: Delivered) -> None:
    token = encode(*delivery)
    for end in range(len(token)):
        refused(token[:end])


@given(st.text(max_size=60) | st.text(ALPHABET, max_size=60) | st.binary(max_size=60).map(spelled))
@example("")
@example("lAECAwQ=")
@example("é")
@example("\ud800")
def test_a_foreign_string_is_refused_unless_it_is_the_spelling_of_a_delivery(text: str) -> None:
    try:
        found = decode(text)
    except InvalidAckToken:
        return
    assert encode(*found) == text


@pytest.mark.parametrize(
    "value",
    [
        [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, -1], [1, 2, 3, 1.0], [1, 2, 3, True], [1, 2, 3, None], [1, 2, 3, "4"], [[1], 2, 3, 4],
        {1: 1, 2: 2, 3: 3, 4: 4}, "1234", b"1234", None, 7, {"a": 1}, msgpack.Timestamp(1), msgpack.ExtType(5, b"x"),
    ],
)  # fmt: skip
def test_other_values_are_refused(value: Any) -> None:
    refused(spelled(msgpack.packb(value)))


@pytest.mark.parametrize(
    "packed",
    [
        b"\x94\xcc\x01\x02\x03\x04",  # 1 in two bytes
        b"\xdc\x00\x04\x01\x02\x03\x04",  # the array's length in two bytes
        b"\x94\x01\x02\x03\x04\x05",  # something behind it
        b"\x94\x01\x02\x03",
        b"\xc1",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_other_spellings_are_refused(packed: bytes) -> None:
    refused(spelled(packed))


def test_the_summary_is_short() -> None:
    with pytest.raises(InvalidAckToken) as refusal:
        decode("x" * 10_000)
    assert len(refusal.value.summary) < 200
