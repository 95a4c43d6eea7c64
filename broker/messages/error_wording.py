"""Rewords msgspec's validation errors for API users: which field must have which type."""

import difflib
import re
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from broker.messages.names import WHAT_IS_A_NAME

_TYPES = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "object": "an object", "array": "a list",
    "null": "null", "bytes": "a string",
}  # fmt: skip
_GOT = {"bool": "a boolean", "float": "a decimal number"}
_EXPECTED = re.compile(r"Expected `([^`]+)`(?: of length ([<>]=) (\d+)| ([<>]=?) (\S+))?(?:, got `(\w+)`)?")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[[^\]]*\]")


def reason(text: str, kind: Any, path: str) -> str:
    """The reason for a refusal, from the decoder's text. `path`: the place of the value in one of type `kind`."""
    if "matching regex" in text:
        return f"must be {WHAT_IS_A_NAME}"
    if text.startswith("Invalid enum value"):
        choices = [str(value) for member in _at(kind, path) if isinstance(member, inspect.LiteralType) for value in member.values]
        return f"must be {' or '.join(choices)}" if choices else "must be one of the values that there are"
    found = _EXPECTED.fullmatch(text)
    if not found:
        return text[:1].lower() + text[1:]
    types, length, count, bound, number, got = found.groups()
    wanted = " or ".join(_TYPES.get(name, name) for name in types.split(" | ") if name != "null")
    if length:
        unit = "characters" if "str" in types else "items"
        return f"must be {wanted} of {'at least' if length == '>=' else 'at most'} {count} {unit if count != '1' else unit[:-1]}"
    if bound:
        return f"must be {wanted} of {'at least' if bound == '>=' else 'at most' if bound == '<=' else bound} {number}"
    return f"must be {wanted}" + (f", not {_GOT.get(got) or _TYPES.get(got, got)}" if got else "")


def unknown(name: str, kind: Any, path: str) -> str:
    """Says that the field does not exist, and lists those that do."""
    names = [field.encode_name for member in _at(kind, path) if isinstance(member, inspect.StructType) for field in member.fields]
    close = difflib.get_close_matches(name[:100], names, 1)
    if close:
        return f"unknown field; perhaps {close[0]} is meant"
    return f"unknown field; there are {', '.join(names)}" if names else "unknown field"


@lru_cache(maxsize=64)
def _type_info(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _at(kind: Any, path: str) -> list[inspect.Type]:
    """The types allowed at a path such as `messages[3].data`; empty if the path does not exist."""
    members = _members([_type_info(kind)])
    for step in _STEP.finditer(path):
        inner: list[inspect.Type] = []
        for member in members:
            if isinstance(member, inspect.StructType):
                inner += [field.type for field in member.fields if field.encode_name == step[1]]
            elif isinstance(member, inspect.ListType):
                inner.append(member.item_type)
            elif isinstance(member, inspect.DictType):
                inner.append(member.value_type)
        members = _members(inner)
    return members


def _members(types: list[inspect.Type]) -> list[inspect.Type]:
    return [member for kind in types for member in (kind.types if isinstance(kind, inspect.UnionType) else (kind,))]


def fields_of(kind: type) -> str:
    """The names of a type's fields, the required ones first."""
    names = msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()
    return ", ".join(field.encode_name for field in sorted(names, key=lambda field: not field.required))
