"""The API description, made from the table of operations and the types that validate."""

import re
from functools import lru_cache
from typing import Any

import msgspec

from broker import __version__
from http_api.problems import CODES, Problem
from http_api.routes import OPERATIONS, Operation

# Any call of /v1 may end so.
_ALWAYS = (400, 401, 403, 500, 503, 504, 507)
_MEDIA = ("application/json", "application/msgpack")
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
    500: "The server made a mistake.",
    503: "Redis cannot be reached or refuses; nothing happened.",
    504: "The connection to Redis was lost; it may have happened.",
    507: "Redis is at its memory limit; nothing happened.",
}


@lru_cache(maxsize=1)
def describe() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    types = {t for operation in OPERATIONS for t in (operation.answer, *_bodies(operation)) if t not in (str, dict)}
    ordered = sorted(types, key=lambda t: str(t.__name__))
    schemas, components = msgspec.json.schema_components([*ordered, Problem], ref_template="#/components/schemas/{name}")
    by_type = dict(zip([*ordered, Problem], schemas, strict=True)) | {str: {"type": "string"}, dict: {"type": "object"}}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path.replace(":path}", "}"), {})[operation.method.lower()] = _operation(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stream broker", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _bodies(operation: Operation) -> tuple[type, ...]:
    if operation.body is None:
        return ()
    return operation.body if isinstance(operation.body, tuple) else (operation.body,)


def _operation(operation: Operation, schemas: dict[type, Any]) -> dict[str, Any]:
    kind = "text/plain" if operation.answer is str else None
    responses: dict[str, Any] = {}
    for status in operation.status:
        responses[str(status)] = {"description": _SUCCESS.get(status, "The answer."), "content": _content(schemas[operation.answer], kind)}
    if not operation.public:
        for status in sorted({*_ALWAYS, *operation.errors}):
            responses[str(status)] = {
                "description": f"{_HEADINGS[status]} Codes: {', '.join(CODES[status])}.",
                "content": _content(schemas[Problem]),
            }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": (operation.endpoint.__doc__ or "").strip(),
        "parameters": _parameters(operation),
        "responses": responses,
        "security": [] if operation.public else [{"bearer": []}, {}],
    }
    bodies = _bodies(operation)
    if bodies:
        schema = schemas[bodies[0]] if len(bodies) == 1 else {"anyOf": [schemas[body] for body in bodies]}
        content = _content(schema)
        if operation.name == "publish":
            content["application/x-ndjson"] = {"schema": {"type": "string", "description": "One message a line."}}
        described["requestBody"] = {"required": operation.name != "nextByPost", "content": content}
    return described


_SUCCESS = {200: "Done.", 201: "Created.", 503: "Not ready, and why."}


def _content(schema: Any, kind: str | None = None) -> dict[str, Any]:
    return {media: {"schema": schema} for media in ((kind,) if kind else _MEDIA)}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"{(\w+)", operation.path)
    ]
    for parameter in operation.query:
        found.append({"name": parameter.name, "in": "query", "schema": parameter.schema, "description": parameter.description})
    return found
