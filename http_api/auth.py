"""Authentication and scopes of requests (C2)."""

from starlette.requests import Request

from broker.access.tokens import Access, AccessTokens
from broker.errors import Forbidden, Unauthenticated


def authenticate(tokens: AccessTokens, headers: list[str]) -> Access:
    """The rights of the bearer of these Authorization headers. Unauthenticated: the summary says why."""
    if tokens.open:
        return tokens.anyone
    if not headers:
        raise Unauthenticated("The Authorization header is missing; send Authorization: Bearer <token>.")
    if len(headers) > 1:
        raise Unauthenticated("There is more than one Authorization header.")
    scheme, _, token = headers[0].strip().partition(" ")
    if not scheme:
        raise Unauthenticated("The Authorization header is empty; send Authorization: Bearer <token>.")
    if scheme.lower() == "bearer" and not token.strip():
        raise Unauthenticated("The Authorization header has no token after Bearer.")
    if scheme.lower() != "bearer":
        raise Unauthenticated("The Authorization header has another scheme than Bearer.")
    return tokens.access(token.strip())


def require(request: Request, action: str, name: str | None = None, *, read: bool = False) -> None:
    """Forbidden: the caller's scopes do not allow the action.

    `read`: the action only reads, so the scope `read` is enough.
    """
    access: Access = request.scope["access"]
    if not access.allows(action, name, read=read):
        wanted = action if name is None else f"{action}:{name}"
        raise Forbidden(f"The access token has no scope {wanted}{' or read' if read else ''}.")
