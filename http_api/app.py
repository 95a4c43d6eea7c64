"""The ASGI application: routes, and what surrounds every request."""

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.access import AccessTokens
from broker.broker import Broker
from broker.errors import NotFound, OutcomeUnknown
from broker.waiting import CallerGone
from http_api import metrics, problems
from http_api.auth import authenticate
from http_api.codec import WHOLE
from http_api.context import Context
from http_api.openapi import describe
from http_api.problems import MethodNotAllowed
from http_api.routes import OPERATIONS
from http_api.settings import Settings

_CUT_OFF = OutcomeUnknown("The server stopped before the call was done; it may have taken effect.")
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


def create_app(broker: Broker, tokens: AccessTokens, settings: Settings, *, owns_calls: bool = False) -> ASGIApp:
    """The application over a broker; it starts and closes both.

    `owns_calls`: a call is cancelled only where the server has to end, so that the client is told and nobody else is.
    """

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        await broker.start()
        await tokens.start()
        yield
        await tokens.close()
        await broker.close()

    router = Router(
        routes=[Route(path, _Methods(path), name=path) for path in dict.fromkeys(o.path for o in OPERATIONS)],
        redirect_slashes=False,
        default=_nothing_here,
        lifespan=lifespan,
    )
    return Surroundings(_Addresses(router), Context(broker, tokens, settings, describe()), owns_calls=owns_calls)


class _Addresses:
    """Which endpoint serves an address, by Starlette's router. Workers repeat their addresses, so what it found is remembered."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._find = lru_cache(maxsize=4096)(self._match)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._router(scope, receive, send)
        else:
            endpoint, scope["path_params"] = found
            await endpoint(scope, receive, send)

    def _match(self, path: str) -> tuple[ASGIApp, dict[str, str]] | None:
        for route in self._router.routes:
            match, found = route.matches({"type": "http", "method": "GET", "path": path, "path_params": {}, "root_path": ""})
            if match is Match.FULL:
                return found["endpoint"], found["path_params"]
        return None


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"There is nothing at {scope['path'][:200]!r}; /openapi.json lists what there is.")


class _Methods:
    """All methods of one address, as an endpoint of its own so that 405 names the others."""

    def __init__(self, path: str) -> None:
        self._operations = {o.method: o for o in OPERATIONS if o.path == path}
        shown = self._operations.get("GET")
        if shown is not None and shown.heads:
            self._operations["HEAD"] = shown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        operation = self._operations.get(request.method)
        if operation is None:
            reply = problems.response(request, MethodNotAllowed(f"{request.method} is not a method of this address."))
            reply.headers["Allow"] = ", ".join(self._operations)
        else:
            scope["operation"] = operation.name
            reply = await operation.endpoint(request)
        await reply(scope, receive, send)


class Surroundings:
    """Request id, access, errors in their one shape, and the time that a request took."""

    def __init__(self, app: ASGIApp, context: Context, *, owns_calls: bool = False) -> None:
        self._app = app
        self._owns_calls = owns_calls
        self._context = context
        self._process, self._count = secrets.token_hex(6), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        scope["context"] = self._context
        request_id, authorizations = b"", []
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                authorizations.append(value.decode("latin-1"))
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = f"{self._process}{next(self._count):06x}".encode()

        async def send_named(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind != "http.response.body":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id))
            if kind != WHOLE:
                await send(message)
            elif WHOLE not in scope.get("extensions", ()) or not scope["extensions"][WHOLE](message):
                await send({"type": "http.response.start", "status": status, "headers": message["headers"]})
                await send({"type": "http.response.body", "body": message["body"]})

        try:
            if scope["path"].startswith("/v1"):
                scope["access"] = authenticate(self._context.tokens, authorizations)
            await self._app(scope, receive, send_named)
        except (CallerGone, ClientDisconnect):
            return
        except asyncio.CancelledError:
            if not self._owns_calls:
                raise
            if not status:
                await problems.response(Request(scope), _CUT_OFF)(scope, receive, send_named)
        except Exception as exc:
            if status:
                raise
            await problems.response(Request(scope), exc)(scope, receive, send_named)
        finally:
            if "operation" in scope:
                metrics.request_done(scope["operation"], status, time.perf_counter() - started)
