"""Options made from the types of request bodies: a new field becomes an option."""

import re
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import click
import msgspec
from msgspec import NODEFAULT, UNSET, inspect

from http_api.cli import parsers
from http_api.description.words import words_of
from http_api.settings import WrongSetting

Command = TypeVar("Command", bound=Callable[..., Any])

_ALIASES = {"ack_wait", "sync_id"}
_SHORTER = {"stream_id": "--stream", "expires_in": "--expires"}
# The meaning of null in a description, if null has one.
_NULL = re.compile(r"; null = ([^.;]*)")


def options_of(
    kind: type[msgspec.Struct], only: Collection[str] = (), without: Collection[str] = (), default: str | None = None
) -> Callable[[Command], Command]:
    """Add an option for each field of a type, or for `only` these; `name` is an argument. Options are named as fields.

    `default` describes a missing option; without it, the type's default does.
    """

    def add(command: Command) -> Command:
        for field in reversed(msgspec.structs.fields(kind)):
            if field.name not in {*_ALIASES, *without} and (not only or field.name in only):
                command = _parameter(kind.__name__, field, default)(command)
        return command

    return add


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The given fields, for the API."""
    return {name: None if value is UNSET else value for name, value in fields.items() if value not in (None, ())}


def changes(fields: dict[str, Any]) -> dict[str, Any]:
    """The given fields of a command that changes something. WrongSetting: none is given."""
    if found := given(fields):
        return found
    options = ", ".join("--" + name.replace("_", "-") for name in fields)
    raise WrongSetting(f"nothing to change: give one of {options}.")


def _parameter(kind: str, field: msgspec.structs.FieldInfo, default: str | None) -> Callable[[Command], Command]:
    if field.name == "name":
        return click.argument("name", required=field.required)
    words = words_of(kind, field.name)[0].replace("`", "")
    null = _NULL.search(words)
    option = _SHORTER.get(field.name, "--" + field.name.replace("_", "-"))
    settings: dict[str, Any] = {}
    match [part for part in _parts(field.type) if not isinstance(part, inspect.NoneType)]:
        case [inspect.BoolType()]:
            option, settings = f"{option}/--no-{option[2:]}", {"default": None}
        case [inspect.IntType()]:
            settings = {"type": parsers.NUMBER_OR_NONE if null else int, "metavar": "N"}
        case [inspect.StrType()]:
            pass
        case [inspect.LiteralType(values)]:
            settings = {"type": click.Choice(values)}
        case [inspect.IntType(), inspect.StrType()]:
            settings = {"type": parsers.SPAN, "metavar": "DURATION"}
        case [inspect.DictType()]:
            settings = {"type": parsers.OBJECT, "metavar": "JSON"}
        case [inspect.ListType(item_type=inspect.IntType())]:
            settings = {"type": parsers.NUMBERS, "metavar": "N,N,..."}
        case [inspect.ListType(item_type=inspect.StrType())]:
            option, settings = option.removesuffix("s"), {"multiple": True}
        case [inspect.StructType(cls=part, fields=fields)]:
            words += f" {words_of(part.__name__, fields[0].name)[0].replace('`', '')}"
            keys = "|".join(key.name for key in fields if key.name not in _ALIASES)
            reads = {"type": parsers.PAIR, "callback": parsers.by_key}
            option, settings = option.removesuffix("s"), {"multiple": True, "metavar": f"{keys}=PATTERN", **reads}
        case other:
            raise TypeError(f"{kind}.{field.name} is of a type that no option is: {other}")
    if "multiple" in settings:
        words += " Repeat for more."
    if "Default:" not in words:
        settings["show_default"] = default or (null[1] if null else _default(field))
    cleared = "; none takes the limit away" if field.default is UNSET else ""
    return click.option(option, field.name, help=_NULL.sub(cleared, words), **settings)


def _parts(kind: Any) -> tuple[inspect.Type, ...]:
    found = inspect.type_info(kind)
    return found.types if isinstance(found, inspect.UnionType) else (found,)


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    """The field's default as text. None: the field is required."""
    if field.required:
        return None
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | str) else "none"
