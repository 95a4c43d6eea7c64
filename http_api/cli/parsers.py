"""Parsers for options and arguments."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from broker.messages.names import WHAT_IS_A_NAME, is_name
from broker.messages.times import duration_ms

T = TypeVar("T")


def reader(read: Callable[[str], T], otherwise: str) -> Callable[[str], T]:
    """`read` as a click type. `otherwise`: the error text if `read` raises ValueError."""

    def convert(text: str) -> T:
        try:
            return read(text)
        except (ValueError, RecursionError) as exc:
            raise click.BadParameter(f"{text!r} {otherwise or exc}") from exc

    return convert


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError
    return text


def _pair(text: str) -> tuple[str, str]:
    key, equals, pattern = text.partition("=")
    if not equals:
        raise ValueError
    return key, pattern


AT_LEAST_1 = click.IntRange(min=1)
NAME = reader(_name, f"is no name: it must be {WHAT_IS_A_NAME}")
# `none` removes a limit.
NUMBER_OR_NONE = reader(lambda text: msgspec.UNSET if text == "none" else int(text), "is neither a number nor none")
NUMBERS = reader(lambda text: [int(part) for part in text.split(",") if part], "is not a list of numbers")
OBJECT = reader(msgspec.json.Decoder(dict[str, Any]).decode, "is not a JSON object")
SPAN = reader(duration_ms, "")
PAIR = reader(_pair, "is not KEY=PATTERN")


def by_key(_: click.Context, __: click.Parameter, pairs: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    """Filters for the API: one pattern or a list per key."""
    found: dict[str, list[str]] = {}
    for key, pattern in pairs:
        found.setdefault(key, []).append(pattern)
    return {key: patterns[0] if len(patterns) == 1 else patterns for key, patterns in found.items()} or None
