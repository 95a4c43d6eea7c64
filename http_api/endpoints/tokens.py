"""Endpoints of access tokens: create, list, revoke."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.access.tokens import Access
from broker.errors import ValidationFailed
from broker.messages.times import duration_ms
from broker.messages.validation import decode
from http_api.auth import require
from http_api.bodies.codec import answer, read_json
from http_api.context import context, made
from http_api.shapes.answers import AccessObject, CreatedToken, Deleted, TokenList
from http_api.shapes.requests import TokenRequest

_TOKEN = msgspec.json.Decoder(TokenRequest)
MAX_EXPIRY_MS = 2**45


def expiry_ms(given: int | str) -> int:
    """The lifetime of a token in ms, from ms or a duration such as 30s, 5m, 12h, 90d. ValidationFailed."""
    try:
        ms = duration_ms(given) if isinstance(given, str) and not given.isdigit() else int(given)
    except ValueError as exc:
        raise ValidationFailed({"expires_in": ["must be a number of ms, or such as 30s, 5m, 12h or 90d"]}) from exc
    if not 1 <= ms <= MAX_EXPIRY_MS:
        raise ValidationFailed({"expires_in": [f"must be 1 to {MAX_EXPIRY_MS} ms"]})
    return ms


async def create(request: Request) -> Response:
    """POST /v1/tokens."""
    require(request, "admin")
    asked = decode(_TOKEN, await read_json(request, context(request).settings.max_body_bytes))
    expires_in = None if asked.expires_in is None else expiry_ms(asked.expires_in)
    tokens = context(request).tokens
    made(request, "token", asked.name)
    text = await tokens.create(asked.name, asked.scopes, expires_in)
    new = next(token for token in (await tokens.list()).values() if token.name == asked.name)
    return answer(request, CreatedToken(new.name, new.scopes, text, new.created_at, new.expires_at), 201, cache_control="no-store")


async def page(request: Request) -> Response:
    """GET /v1/tokens."""
    require(request, "admin")
    found = (await context(request).tokens.list()).values()
    return answer(request, TokenList(sorted(found, key=lambda token: token.name)))


async def revoke(request: Request) -> Response:
    """DELETE /v1/tokens/{name}."""
    require(request, "admin")
    name = request.path_params["name"]
    await context(request).tokens.revoke(name)
    return answer(request, Deleted(name))


async def access(request: Request) -> Response:
    """GET /v1/access: the caller's scopes, so that a client can hide actions that would be refused."""
    caller: Access = request.scope["access"]
    shown = AccessObject(caller.name, sorted(caller.scopes), context(request).tokens.open)
    return answer(request, shown, cache_control="no-store")
