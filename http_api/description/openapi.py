"""OpenAPI document, built from the table of operations and the types that validate."""

import re
from functools import lru_cache
from typing import Any

import msgspec

from broker import __version__
from http_api.description.operations import OPERATION_WORDS, TAGS
from http_api.description.schemas import Schemas
from http_api.description.words import FIELDS, PARAMETERS
from http_api.problems import CODES, Problem
from http_api.routes import OPERATIONS, Operation

# Any call of /v1 may return these.
_ALWAYS = (400, 401, 403, 500, 503, 504, 507)
_MEDIA = ("application/json", "application/msgpack")
_ABOUT = """\
Names of streams and consumers are 1-64 of `A-Z a-z 0-9 _ . -`. Times are RFC 3339 in UTC; durations are integers in ms in fields
that end in `_ms`. Bodies may be MessagePack instead of JSON, and answers are where `Accept` prefers it. An optional field that is
left out has the default that its description names. Every error has a `code` for programs and a `summary` for people.
"""
_HEADINGS = {
    400: "The request could not be read, or a value is out of its range.",
    401: "No valid access token.",
    403: "The token's scopes do not reach.",
    404: "There is no such thing.",
    409: "What is there stands in the way.",
    413: "A message or the body is too large.",
    415: "The content type is not supported.",
    422: "A field is wrong; `validation_errors` names it.",
    429: "Too many calls wait.",
    500: "Internal error; the server's log has the cause.",
    503: "Redis cannot be reached or refuses; nothing happened.",
    504: "The connection to Redis was lost; it may have happened.",
    507: "Redis is at its memory limit; nothing happened.",
}


@lru_cache(maxsize=1)
def describe() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    types = {t for operation in OPERATIONS for t in (operation.answer, *_bodies(operation)) if t not in (str, dict)}
    schemas = Schemas([*sorted(types, key=lambda t: str(t.__name__)), Problem])
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path.replace(":path}", "}"), {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stream broker",
            "version": __version__,
            "summary": "Record and event streams, pulled by workers: next, ack, nack.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The server that gave this description."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "An access token."}},
        },
    }


def _bodies(operation: Operation) -> tuple[type, ...]:
    if operation.body is None:
        return ()
    return operation.body if isinstance(operation.body, tuple) else (operation.body,)


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    words = OPERATION_WORDS[operation.name]
    kind = "text/plain" if operation.answer is str else None
    responses: dict[str, Any] = {}
    for status in operation.status:
        example = {"status": "unavailable", "reason": FIELDS["Health.reason"][1]} if status == 503 else schemas.example(operation.answer)
        content = _content(schemas[operation.answer], kind, {"answer": example})
        responses[str(status)] = {"description": _SUCCESS.get(status, "The answer."), "content": content}
    if not operation.public:
        for status in sorted({*_ALWAYS, *operation.errors}):
            responses[str(status)] = {
                "description": f"{_HEADINGS[status]} Codes: {', '.join(CODES[status])}.",
                "content": _content(schemas[Problem], None, {code: _problem(status, code) for code in CODES[status]}),
            }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": words.summary,
        "description": words.description,
        "tags": [words.tag],
        "parameters": _parameters(operation),
        "responses": responses,
        "security": [] if operation.public else [{"bearer": []}, {}],
    }
    bodies = _bodies(operation)
    if bodies:
        schema = schemas[bodies[0]] if len(bodies) == 1 else {"anyOf": [schemas[body] for body in bodies]}
        content = _content(schema, None, words.bodies)
        if operation.name == "publish":
            lines = "".join(msgspec.json.encode(m).decode() + "\n" for body in words.bodies.values() for m in body["messages"])
            content["application/x-ndjson"] = {"schema": {"type": "string", "description": "One message a line."}, "example": lines}
        described["requestBody"] = {"required": operation.name != "nextByPost", "content": content}
    return described


_SUCCESS = {200: "Done.", 201: "Created.", 503: "Not ready, and why."}


def _content(schema: Any, kind: str | None, examples: dict[str, Any]) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in examples.items()}
    return {media: {"schema": schema, "examples": named} for media in ((kind,) if kind else _MEDIA)}


def _problem(status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = {"code": code, "summary": _HEADINGS[status]}
    if status == 422:
        problem |= {"summary": "messages[3].data: required.", "validation_errors": FIELDS["validation_errors"][1]}
    return problem


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in re.findall(r"{(\w+)", operation.path):
        description, example = PARAMETERS[name]
        schema = {"type": "string"}
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "description": description, "example": example})
    for parameter in operation.query:
        _, example = PARAMETERS.get(parameter.name) or FIELDS[parameter.name]
        if "enum" in parameter.schema:
            example = parameter.schema["enum"][-1]
        found.append(
            {
                "name": parameter.name,
                "in": "query",
                "schema": parameter.schema,
                "description": parameter.description,
                "example": example,
            }
        )
    return found
