"""Filters: one canonical form for what means the same (C18)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.consumers.filters import Filters, Patterns, filter_id
from broker.errors import ValidationFailed

patterns = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("filters", "canonical"),
    [
        (Filters(), ""),
        (Filters(provider="*"), ""),
        (Filters(provider=["*"], collection_id="*", resource_id=["a", "*"]), ""),
        (Filters(provider="github"), '{"provider":["github"]}'),
        (Filters(provider=["github"]), '{"provider":["github"]}'),
        (Filters(provider=["b", "a", "b"]), '{"provider":["a","b"]}'),
        (Filters(collection_id="a:*", provider=["*", "a"]), '{"collection_id":["a:*"]}'),
        (
            Filters(resource_id="r", provider="p", collection_id="c"),
            '{"collection_id":["c"],"provider":["p"],"resource_id":["r"]}',
        ),
        (Filters(sync_id="r"), '{"resource_id":["r"]}'),
        (Filters(sync_id="r", resource_id="r"), '{"resource_id":["r"]}'),
        (Filters(provider="a*b"), '{"provider":["a*b"]}'),
        (Filters(provider="**"), '{"provider":["**"]}'),
        (Filters(provider='é"'), '{"provider":["é\\""]}'),
    ],
)
def test_canonical_forms(filters: Filters, canonical: str) -> None:
    assert filters.canonical() == canonical


@given(patterns, st.randoms(use_true_random=False))
def test_order_and_repetition_mean_nothing(values: list[str], random: object) -> None:
    again = [*values, *values]
    random.shuffle(again)  # type: ignore[attr-defined]
    assert Filters(provider=again).canonical() == Filters(provider=values).canonical()


@given(st.builds(Filters, provider=patterns, collection_id=patterns | st.none(), resource_id=patterns | st.none()))
def test_the_canonical_form_is_its_own_canonical_form(filters: Filters) -> None:
    canonical = filters.canonical()
    again = msgspec.json.decode(canonical, type=Filters) if canonical else Filters()
    assert again.canonical() == canonical


@given(patterns, patterns)
def test_different_patterns_have_different_forms(one: list[str], other: list[str]) -> None:
    def meant(values: list[str]) -> set[str]:
        return set() if "*" in values else set(values)

    same = Filters(provider=one).canonical() == Filters(provider=other).canonical()
    assert same == (meant(one) == meant(other))


def test_the_same_patterns_of_another_key_are_another_filter() -> None:
    assert len({Filters(**{key: "a"}).canonical() for key in ("provider", "collection_id", "resource_id")}) == 3


@pytest.mark.parametrize(
    ("filters", "shown"),
    [
        (Filters(), "{}"),
        (Filters(provider="a"), '{"provider":"a"}'),
        (Filters(provider=["b", "a", "b"]), '{"provider":["b","a","b"]}'),
        (Filters(sync_id=["x"]), '{"resource_id":["x"]}'),
        (Filters(sync_id="x", provider="*"), '{"provider":"*","resource_id":"x"}'),
    ],
)
def test_what_is_shown_is_what_was_given_without_the_alias(filters: Filters, shown: str) -> None:
    assert filters.as_given() == shown


@pytest.mark.parametrize(("resource_id", "sync_id"), [("a", "b"), ("a", ["a"]), (["a", "b"], ["b", "a"])])
def test_an_alias_that_differs_is_refused(resource_id: Patterns, sync_id: Patterns) -> None:
    filters = Filters(resource_id=resource_id, sync_id=sync_id)
    with pytest.raises(ValidationFailed) as refusal:
        filters.canonical()
    assert refusal.value.errors == {"filters.sync_id": ["differs from resource_id, whose alias it is"]}


def test_the_id_of_a_filter() -> None:
    assert filter_id("") == ""
    assert filter_id('{"provider":["github"]}') == "4fa8ff5b971873ea"  # as the wire contract has it
    assert filter_id('{"provider":["gitlab"]}') != filter_id('{"provider":["github"]}')


@pytest.mark.parametrize(
    "text",
    [
        '{"provider":""}', '{"provider":[]}', '{"provider":[""]}', '{"provider":1}', '{"provider":["a",null]}', '{"color":"a"}',
        '{"provider":"' + "a" * 257 + '"}', "[]", "null", '{"provider":[' + ",".join(['"a"'] * 1001) + "]}",
    ],
)  # fmt: skip
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Filters)
