"""Ack tokens: every delivery has one spelling, and no other string is a token (C24)."""

import json
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.consumers.ack_tokens import parse, tail
from broker.errors import InvalidAckToken

Delivered = tuple[str, str, int]
u64 = st.integers(0, (1 << 64) - 1) | st.integers(0, 300)
epochs = st.text("0123456789abcdef", min_size=16, max_size=16)
deliveries = st.builds(lambda epoch, ms, seq, number: (epoch, f"{ms}-{seq}", number), epochs, u64, u64, st.integers(1, 10**15 - 1))
ALPHABET = string.ascii_letters + string.digits + "-._"


def encode(epoch: str, message_id: str, number: int) -> str:
    """The token of one delivery."""
    return message_id + tail(number, epoch)


def decode(token: str) -> Delivered:
    """What one token says."""
    [group] = parse([token])
    [message_id] = json.loads(group.ids)
    return group.epoch, message_id, int(group.number)


def refused(*tokens: str) -> None:
    """One of the strings is no token."""
    with pytest.raises(InvalidAckToken):
        parse(tokens)


@given(deliveries)
@example(("0" * 16, "0-0", 1))
@example(("f" * 16, f"{(1 << 64) - 1}-{(1 << 64) - 1}", 10**15 - 1))
def test_round_trip(delivery: Delivered) -> None:
    token = encode(*delivery)
    assert decode(token) == delivery
    assert set(token) <= set(ALPHABET)


def test_the_spelling_of_the_wire_contract() -> None:
    assert encode("9f1c0a7be2d34856", "1795458299238-0", 1) == "1795458299238-0.1.9f1c0a7be2d34856"


@given(st.lists(deliveries, min_size=1, max_size=20))
def test_many_tokens_are_told_apart(given: list[Delivered]) -> None:
    found: dict[int, Delivered] = {}
    for group in parse([encode(*delivery) for delivery in given]):
        found |= {at: (group.epoch, i, int(group.number)) for at, i in zip(group.positions, json.loads(group.ids), strict=True)}
    assert [found[at] for at in range(len(given))] == given


@pytest.mark.parametrize(
    "other",
    [
        "5-0",
        "",
        "5-0.1",
        "5-0.1.1795458299271261.1.1795458299271261",
        ".1.1795458299271261",
        "5-0 6-0.1.1795458299271261",
        '5-0","6-0.1.1795458299271261',
    ],
)
def test_what_is_no_token_is_found_among_those_of_a_batch(other: str) -> None:
    tokens = [f"{n}-0.1.1795458299271261" for n in range(3)]
    refused(*tokens, other)
    refused(other, *tokens)


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


@given(deliveries, st.sampled_from(["=", "==", "A", " ", "\n", "-", "\0", ".", "1", "٣"]))
def test_anything_around_a_token_is_refused(delivery: Delivered, more: str) -> None:
    refused(encode(*delivery) + more)
    if more != "1":
        refused(more + encode(*delivery))


@given(deliveries)
def test_a_part_of_a_token_is_refused(delivery: Delivered) -> None:
    token = encode(*delivery)
    for end in range(len(token)):
        refused(token[:end])


@given(deliveries, st.text(max_size=60) | st.text(ALPHABET, max_size=60))
@example(("1000000000000000", "1-1", 1), "")
@example(("1000000000000000", "1-1", 1), "1-1 1-1.1.1000000000000000")
@example(("1000000000000000", "1-1", 1), "01-1.1.1000000000000000")
@example(("1000000000000000", "1-1", 1), "18446744073709551616-0.1.1000000000000000")
@example(("1000000000000000", "1-1", 1), "é")
@example(("1000000000000000", "1-1", 1), "\ud800")
def test_a_foreign_string_is_refused_unless_it_is_the_spelling_of_a_delivery(good: Delivered, text: str) -> None:
    try:
        found = decode(text)
    except InvalidAckToken:
        refused(encode(*good), text)
        return
    assert encode(*found) == text


def test_the_summary_is_short() -> None:
    with pytest.raises(InvalidAckToken) as refusal:
        parse(["x" * 10_000])
    assert len(refusal.value.summary) < 200


STAMP = "1795458299271261"
BATCH = [f"{ms}-{seq}.1.{STAMP}" for ms in (8, 9, 10) for seq in (0, 1, 10)]


@pytest.mark.parametrize("other", [[], [".1." + STAMP], ["8-0 8-1.1." + STAMP], ["8-0.1." + STAMP + " "]])
def test_what_is_no_token_is_refused_a_remembered_batch(other: list[str]) -> None:
    for tokens in ([*BATCH[:-1], *other], [*BATCH, *other], [" ".join(BATCH), *other], [BATCH[0], " ".join(BATCH[1:]), *other]):
        if tokens not in (BATCH, BATCH[:-1]):
            with pytest.raises(InvalidAckToken):
                parse(tokens)
