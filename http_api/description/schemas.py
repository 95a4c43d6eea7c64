"""JSON schemas of the types that validate, with a description and an example of each field."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from http_api.description.words import TYPES, words_of

_REF = "#/components/schemas/"
# The library's docstrings cite the rules of the API by number, which API users do not need.
_RULES = re.compile(r"\s*\((?:C\d+|section \d+)[^)]*\)")
# Fields that examples of answers omit: aliases and optional fields.
_AT_TIMES = {"sync_id", "ack_wait", "event", "settled", "paused", "paused_until", "replicas", "fsync", "reason", "validation_errors"}
_OTHERS: dict[Any, dict[str, Any]] = {str: {"type": "string"}, dict: {"type": "object"}}
_OTHER_EXAMPLES: dict[Any, Any] = {str: "broker_waiting_calls 3.0\n", dict: {"openapi": "3.1.0"}}


class Schemas:
    """The schemas of some types; `components` has those that others refer to."""

    def __init__(self, types: Sequence[type]) -> None:
        found, self.components = msgspec.json.schema_components(types, ref_template=_REF + "{name}")
        self._by_type = dict(zip(types, found, strict=True)) | _OTHERS
        for name, schema in self.components.items():
            schema["description"] = TYPES.get(name) or _prose(schema.get("description", ""))
        for name, schema in self.components.items():
            for field, described in schema.get("properties", {}).items():
                self._describe(name, field, described)

    def __getitem__(self, kind: type) -> Any:
        return self._by_type[kind]

    def example(self, kind: type) -> Any:
        """An answer of this type."""
        return _OTHER_EXAMPLES.get(kind) or self._example(self[kind])

    def _describe(self, name: str, field: str, schema: dict[str, Any]) -> None:
        """Add the description of a field.

        The description states the default: generators would treat a field with a `default` as always present.
        """
        if "examples" in schema:
            return
        words, example = words_of(name, field)
        default = schema.pop("default", None)
        if default not in (None, [], {}) and not name.endswith(("Object", "Answer")):
            words += f" Default: `{msgspec.json.encode(default).decode()}`."
        schema["description"] = words
        schema["examples"] = [self._example(schema) if example is None else example]

    def _example(self, schema: dict[str, Any]) -> Any:
        if "examples" in schema:
            return schema["examples"][0]
        if "$ref" in schema:
            target = self.components[schema["$ref"].removeprefix(_REF)]
            return self._object(schema["$ref"].removeprefix(_REF), target)
        if "anyOf" in schema:
            return self._example(schema["anyOf"][0])
        if schema.get("type") == "array":
            return [self._example(schema["items"])]
        return None

    def _object(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        always = set(schema.get("required", ()))
        found = {}
        for field, described in schema["properties"].items():
            if field in always or field not in _AT_TIMES:
                self._describe(name, field, described)
                found[field] = described["examples"][0]
        return found


def _prose(docstring: str) -> str:
    return " ".join(_RULES.sub("", docstring).split())
