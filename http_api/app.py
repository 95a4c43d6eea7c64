"""The ASGI application: routes, and what surrounds every request."""

import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.access import AccessTokens
from broker.broker import Broker
from broker.errors import InvalidRequest, NotFound
from http_api import metrics, problems
from http_api.auth import authenticate
from http_api.context import Context
from http_api.endpoints.deliveries import ClientGone
from http_api.openapi import describe
from http_api.problems import MethodNotAllowed
from http_api.routes import OPERATIONS
from http_api.settings import Settings

_REQUEST_ID = re.compile(r"[!-~]{1,128}")


def create_app(broker: Broker, tokens: AccessTokens, settings: Settings) -> Starlette:
    """The application over a broker; it starts and closes both."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await broker.start()
        await tokens.start()
        yield
        await tokens.close()
        await broker.close()

    app = Starlette(
        routes=[Route(path, _Methods(path), name=path) for path in dict.fromkeys(o.path for o in OPERATIONS)],
        middleware=[Middleware(Surroundings, tokens=tokens)],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.context = Context(broker, tokens, settings)
    app.state.description = describe()
    return app


class _Methods:
    """All methods of one address, as an endpoint of its own so that 405 names the others."""

    def __init__(self, path: str) -> None:
        self._operations = {o.method: o for o in OPERATIONS if o.path == path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        method = "GET" if request.method == "HEAD" else request.method
        operation = self._operations.get(method)
        if operation is None:
            reply = problems.response(request, MethodNotAllowed(f"{request.method} is not a method of this address."))
            reply.headers["Allow"] = ", ".join(self._operations)
        else:
            scope["operation"] = operation.name
            reply = await operation.endpoint(request)
        await reply(scope, receive, send)


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 404:
        return problems.response(request, NotFound("There is nothing at this address."))
    return problems.response(request, InvalidRequest("The request could not be read."))


class Surroundings:
    """Request id, access, errors in their one shape, and the time that a request took."""

    def __init__(self, app: ASGIApp, tokens: AccessTokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        request = Request(scope, receive)
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            if request.url.path.startswith("/v1"):
                scope["access"] = authenticate(self._tokens, request.headers.getlist("authorization"))
            await self._app(scope, receive, send_named)
        except (ClientGone, ClientDisconnect):
            return
        except Exception as exc:
            if status:
                raise
            await problems.response(request, exc)(scope, receive, send_named)
        finally:
            if "operation" in scope:
                metrics.request_done(scope["operation"], status, time.perf_counter() - started)
