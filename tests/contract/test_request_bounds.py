"""Bodies that are decoded by hand keep the bounds of the types that describe them (C4)."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from http_api.shapes.requests import AckRequest, NackOne, NackRequest, NextRequest

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("redis_server", ["valkey"], indirect=True)]

TOKEN = "1795458298239-0.1.9f1c0a7be2d34856"  # noqa: S105 - an ack token
BODIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "next": (NextRequest, {"batch_size": 1000}),
    "ack": (AckRequest, {"ack_tokens": [TOKEN]}),
    "extend": (AckRequest, {"ack_tokens": [TOKEN]}),
    "nack": (NackRequest, {"ack_tokens": [TOKEN], "nacks": [{"ack_token": TOKEN}]}),
}
ITEMS: dict[str, Any] = {"ack": TOKEN, "ack_tokens": TOKEN, "nack": {"ack_token": TOKEN}, "nacks": {"ack_token": TOKEN}}


def at_the_bounds(name: str, schema: dict[str, Any]) -> Iterator[tuple[Any, bool]]:
    """Values of a field at its bounds and just beyond them, and whether each is allowed."""
    kinds: list[dict[str, Any]] = schema.get("anyOf", [schema])
    for kind in kinds:
        for bound, beyond in (("minimum", -1), ("maximum", 1)):
            if bound in kind:
                yield kind[bound], True
                yield kind[bound] + beyond, False
        if "minItems" in kind:
            yield [], kind["minItems"] == 0
        if "maxItems" in kind:
            yield [ITEMS[name]] * kind["maxItems"], True
            yield [ITEMS[name]] * (kind["maxItems"] + 1), False
        if "maxLength" in kind:
            yield "x" * kind["maxLength"], True
            yield "x" * (kind["maxLength"] + 1), False
        if "pattern" in kind:
            allowed = {"w" * 64, "\u00e9"}
            yield from ((value, value in allowed) for value in (*allowed, "w" * 65, "", "a b"))
        if "enum" in kind:
            yield from ((value, value != "other") for value in [*kind["enum"], "other"])
        if kind == {"type": "null"}:
            yield None, True


def fields(kind: Any) -> dict[str, Any]:
    """The schemas of a type's fields by their names."""
    found: dict[str, Any] = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    return found


CASES = [
    (command, {**body, name: value}, allowed)
    for command, (kind, body) in BODIES.items()
    for name, schema in [*fields(kind).items(), ("unknown", {"enum": []})]
    for value, allowed in at_the_bounds(name, schema)
    if not (value is None and name in body)
] + [
    (command, {field: [{"ack_token": TOKEN, name: value}]}, allowed)
    for command, field in (("nack", "nacks"), ("next", "nack"))
    for name, schema in [*fields(NackOne).items(), ("unknown", {"enum": []})]
    for value, allowed in at_the_bounds(name, schema)
]


async def test_a_bound_of_a_type_is_a_bound_of_its_call(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    for command, body, allowed in CASES:
        reply = await http.post(f"/v1/http-consumers/c/{command}", json=body)
        assert reply.status_code in ((200,) if allowed else (400, 422)), (command, body, reply.text[:300])


def tried() -> set[str]:
    """The names of all fields that CASES set."""
    rows = [row for _, body, _ in CASES for name in ("nack", "nacks") for row in body.get(name) or []]
    return {name for body in (*rows, *(body for _, body, _ in CASES)) for name in body}


async def test_every_field_is_tried(redis_server: object) -> None:
    assert len(CASES) > 60
    kinds = (NextRequest, AckRequest, NackRequest, NackOne)
    assert tried() == {"unknown"}.union(*map(fields, kinds))
