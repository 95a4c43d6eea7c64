"""Console: a browser page that uses only the API, served from memory."""

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.errors import NotFound
from http_api import problems
from http_api.context import context
from http_api.problems import MethodNotAllowed

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?(?:,|\s|$))")
_HEADERS = {
    # default-src does not cover the last three. No inline script or style, no eval, no other host.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file, plain and compressed, each with its headers."""

    plain: bytes
    packed: bytes
    headers: dict[str, str]
    packed_headers: dict[str, str]

    def response(self, request: Request) -> Response:
        packs = _GZIP.search(request.headers.get("accept-encoding", "")) is not None
        body, headers = (self.packed, self.packed_headers) if packs else (self.plain, self.headers)
        known = {name.strip().removeprefix("W/") for name in request.headers.get("if-none-match", "").split(",")}
        if known & {headers["ETag"], "*"}:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers)


def _file(kind: str, text: bytes) -> _File:
    tag = hashlib.sha256(text).hexdigest()[:24]
    headers = {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}
    return _File(
        text,
        gzip.compress(text, 9, mtime=0),
        {**headers, "ETag": f'"{tag}"'},
        {**headers, "ETag": f'"{tag}-gzip"', "Content-Encoding": "gzip"},
    )


@lru_cache(maxsize=1)
def _files() -> dict[str, _File]:
    """Every file by its path under /console/. All are compressed at the first request, in some ms."""
    found = {
        path.relative_to(_STATIC).as_posix(): _file(_TYPES[path.suffix], path.read_bytes())
        for path in _STATIC.rglob("*")
        if path.suffix in _TYPES
    }
    # The page asks for a token if the server needs one. Trying the API would put a 401 into the browser's log.
    page = found.pop("index.html").plain
    for access in ("open", "token"):
        found[f"index.html {access}"] = _file("text/html", page.replace(b'data-access=""', b'data-access="%b"' % access.encode()))
    return found


async def _redirect_to_page(request: Request) -> Response:
    """GET /console: redirect to /console/, by a relative path, because a proxy may add a prefix."""
    return RedirectResponse("console/", 307, _HEADERS)


async def _page(request: Request) -> Response:
    """GET /console/: the page."""
    return _files()["index.html open" if context(request).tokens.open else "index.html token"].response(request)


async def _file_of(request: Request) -> Response:
    """GET /console/…: the files of the page."""
    path: str = request.path_params["path"]
    if " " in path or path not in _files():
        raise NotFound("There is nothing at this address.")
    return _files()[path].response(request)


async def _root(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /: redirect a browser to the console; 404 for other clients."""
    request = Request(scope, receive, send)
    if request.method not in ("GET", "HEAD") or "text/html" not in request.headers.get("accept", ""):
        raise NotFound("There is nothing at this address; /openapi.json lists what there is.")
    await RedirectResponse("console/", 307, {"Vary": "Accept"})(scope, receive, send)


class _Get:
    """An endpoint for GET and HEAD."""

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if request.method in ("GET", "HEAD"):
            reply = await self._endpoint(request)
        else:
            reply = problems.response(request, MethodNotAllowed(f"{request.method} is not a method of this address."))
            reply.headers["Allow"] = "GET, HEAD"
        await reply(scope, receive, send)


ADDRESSES: dict[str, ASGIApp] = {
    "/": _root,
    "/console": _Get(_redirect_to_page),
    "/console/": _Get(_page),
    "/console/{path:path}": _Get(_file_of),
}
