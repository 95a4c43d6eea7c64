"""Validation: decodes JSON to typed values, with errors that name the field (C3)."""

import re
from functools import cache
from typing import Any, TypeVar

import msgspec

from broker.errors import InvalidRequest, ValidationFailed
from broker.messages.error_wording import fields_of, reason, unknown

T = TypeVar("T")

METADATA_BYTES = 4096
# Reading the fields of a type takes msgspec 0.15 ms.
_fields = cache(msgspec.structs.fields)

_AT = re.compile(r"^(?P<reason>.*?)(?: - at `(?P<path>.*)`)?$", re.DOTALL)
# An escape: a surrogate pair, half of one, or another escape.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_JSON_TYPES = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null", list: "array", dict: "object"}
_MARKS = ("\ue9a7", "\ue9a8", "\ue9a9")  # private-use characters, which bodies rarely contain
_FIELD = re.compile(r"^Object (contains unknown|missing required) field `(.*)`$", re.DOTALL)


def failure(error: msgspec.ValidationError, kind: Any, prefix: str = "", body: bytes | memoryview = b"") -> ValidationFailed:
    """The failure under the path of its field, such as `messages[3].data`. `kind`: the expected type."""
    match = _AT.match(str(error))
    text, path = (match.group("reason"), match.group("path") or "$") if match else (str(error), "$")
    path = _with_key(path.replace("key in ", "").removeprefix("$"), text, body)
    field = _FIELD.match(text)
    if field:
        said = unknown(field.group(2), kind, path) if "unknown" in field.group(1) else "required"
        path = f"{path}.{field.group(2)}"
    else:
        said = reason(text, kind, path)
    path = (prefix + path).lstrip(".") or "body"
    return ValidationFailed({path: [said.rstrip(".")]})


def _with_key(path: str, text: str, body: bytes | memoryview) -> str:
    """The path with the key for which msgspec writes `[...]`: the first whose value has the type that it got."""
    before, cut, after = path.partition("[...]")
    got = re.search(r"got `(\w+)`", text)
    if not cut or not got:
        return before + after
    try:
        found = msgspec.json.decode(body)
        for name, index in re.findall(r"\.?([^.\[\]]+)|\[(\d+)\]", before):
            found = found[name or int(index)]
        key = next((key for key, value in found.items() if _JSON_TYPES[type(value)] == got[1]), None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError, AttributeError):
        return before + after  # what follows is not JSON, or a name stands there twice
    return before + after if key is None else f"{before}.{key}{after}"


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes | memoryview, prefix: str = "") -> T:
    """Decode JSON. InvalidRequest: it is not JSON. ValidationFailed: it has another type."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise failure(exc, decoder.type, prefix, body) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if "surrogate" in str(exc) or "hex escape" in str(exc) or "truncated" in str(exc):
            _refuse_half_pairs(decoder, bytes(body), prefix)
        raise InvalidRequest(_unreadable(exc, bytes(body), decoder.type)) from exc


def _refuse_half_pairs(decoder: "msgspec.json.Decoder[T]", body: bytes, prefix: str) -> None:
    """ValidationFailed, with the path: a string has half of a surrogate pair, which UTF-8 cannot encode."""
    for mark in _MARKS:
        escape = mark.encode("unicode_escape")
        if escape in body or mark.encode() in body:
            continue
        marked = _ESCAPE.sub(lambda found: escape if found["half"] else found[0], body)  # noqa: B023 - called at once
        try:
            path = _holding(decoder.decode(marked), mark, escape)
        except msgspec.ValidationError as exc:
            raise failure(exc, decoder.type, prefix) from exc
        except (msgspec.DecodeError, RecursionError) as exc:
            raise InvalidRequest(_unreadable(exc, bytes(body), decoder.type)) from exc
        if path is not None:
            raise ValidationFailed({(prefix + path).lstrip(".") or "body": ["a string has half of a surrogate pair"]})


def _holding(value: Any, mark: str, escape: bytes, path: str = "") -> str | None:
    """The path of the first string, or raw JSON, that contains the mark."""
    if isinstance(value, str):
        return path if mark in value else None
    if isinstance(value, msgspec.Raw):
        return path if escape in bytes(value) else None
    if isinstance(value, list):
        parts = [(f"[{i}]", part) for i, part in enumerate(value)]
    elif isinstance(value, dict):
        parts = [("", key) for key in value] + [(f".{key}", part) for key, part in value.items()]
    elif isinstance(value, msgspec.Struct):
        parts = [(f".{field.encode_name}", getattr(value, field.name)) for field in _fields(type(value))]
    else:
        return None
    return next((found for name, part in parts if (found := _holding(part, mark, escape, path + name)) is not None), None)


def _unreadable(error: Exception, body: bytes, kind: Any) -> str:
    if not body.strip():
        names = fields_of(kind)
        return f"The body is empty; it must be a JSON object{f' with {names}' if names else ''}."
    if isinstance(error, RecursionError):
        return "The body is nested too deeply."
    if isinstance(error, UnicodeDecodeError):
        return "The body is not valid JSON: it is not UTF-8."
    if "truncated" not in str(error):
        return f"The body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}."
    return "The body is not valid JSON: it ends too early."


def nulls_are_absent(value: msgspec.Struct, *but: str) -> None:
    """Set fields that are null to their defaults: if a field has a default, null means absent.

    `but`: fields to leave alone.
    """
    for field in _fields(type(value)):
        if getattr(value, field.name) is None and field.name not in but and field.default is not None:
            factory = field.default_factory
            setattr(value, field.name, field.default if factory is msgspec.NODEFAULT else factory())


def checked(value: Any, kind: type[T]) -> T:
    """A struct that was made in Python, validated as if it had been JSON."""
    try:
        return msgspec.convert(msgspec.to_builtins(value), kind)
    except msgspec.ValidationError as exc:
        raise failure(exc, kind) from exc


def metadata_json(metadata: dict[str, Any]) -> str:
    """Metadata as canonical JSON. ValidationFailed: it has more than 4 KiB."""
    text = msgspec.json.encode(metadata, order="sorted").decode()
    if len(text.encode()) > METADATA_BYTES:
        raise ValidationFailed({"metadata": [f"must be at most {METADATA_BYTES} bytes of JSON"]})
    return text
