"""ASGI application: routing, request ids, authentication, errors and metrics of every request."""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.access.tokens import AccessTokens
from broker.broker import Broker
from broker.errors import InvalidRequest, NotFound, OutcomeUnknown
from http_api import console, problems
from http_api.auditing import audited
from http_api.auth import authenticate
from http_api.bodies.bounded_cache import cached
from http_api.bodies.codec import WHOLE
from http_api.bodies.memory_budget import MemoryBudget
from http_api.context import Context, caller_of
from http_api.description.openapi import describe
from http_api.monitoring import logs, metrics
from http_api.monitoring.scraping import Scraper
from http_api.problems import MethodNotAllowed
from http_api.routes import AUDITED, OPERATIONS, Operation
from http_api.settings import Settings
from http_api.visitors import Visitors

if TYPE_CHECKING:
    from http_api.monitoring.spans import Spans

_CUT_OFF = OutcomeUnknown("The server stopped before the call was done; it may have taken effect.")
# How many pages are read, and how many NDJSON bodies are stored, at a time: either may take megabytes.
_PAGES, _UPLOADS = 3, 8
_SLASH = "\ud800"  # a surrogate, which no decoded text contains
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")


def create_app(
    broker: Broker, tokens: AccessTokens, settings: Settings, *, owns_calls: bool = False, spans: "Spans | None" = None
) -> ASGIApp:
    """The application on a broker. Starts and closes the broker and its tokens.

    `owns_calls`: a call is cancelled only when the server must end; the client then gets an error. `spans`: traces
    requests.
    """

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        await broker.start()
        await tokens.start()
        yield
        await tokens.close()
        await broker.close()

    context = Context(
        broker, tokens, settings, description=msgspec.json.encode(describe()) + b"\n", room=MemoryBudget(settings.max_body_bytes),
        pages=asyncio.Semaphore(_PAGES), uploads=asyncio.Semaphore(_UPLOADS), scraper=Scraper(broker),
        spans=spans,
    )  # fmt: skip
    return RequestMiddleware(_Addresses(Router(lifespan=lifespan)), context, owns_calls=owns_calls)


class _Addresses:
    """Finds the endpoint of an address. Workers repeat their addresses, so results are cached."""

    def __init__(self, lifespan: ASGIApp) -> None:
        self._lifespan = lifespan
        served: dict[str, ASGIApp] = {o.path: _Methods(o.path) for o in OPERATIONS} | console.ADDRESSES
        self._endpoints = [(_pattern(path), endpoint) for path, endpoint in served.items()]
        self._find = cached(self._match)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        endpoint, scope["path_params"] = self._find(_address(scope))
        await endpoint(scope, receive, send)

    def _match(self, path: str) -> tuple[ASGIApp, dict[str, str]]:
        for pattern, endpoint in self._endpoints:
            found = pattern.fullmatch(path)
            if found:
                return endpoint, {name: text.replace(_SLASH, "/") for name, text in found.groupdict().items()}
        return _not_found, {}


def _address(scope: Scope) -> str:
    """The decoded path, in which _SLASH stands for a slash that was sent as `%2F`: it separates nothing."""
    raw: bytes = scope.get("raw_path") or b""
    path: str = scope["path"]
    return _SLASH.join(map(unquote, re.split("%2[fF]", raw.decode("ascii")))) if b"%2" in raw else path


def _pattern(path: str) -> re.Pattern[str]:
    """The pattern of an operation's path. A name matches any characters but a slash, a `path` matches these too."""
    parts = re.split(r"\{(\w+)(:path)?\}", path)
    named = (f"(?P<{name}>{'.+' if rest else '[^/]+'})" for name, rest in zip(parts[1::3], parts[2::3], strict=True))
    return re.compile("".join(re.escape(text) + next(named, "") for text in parts[::3]), re.DOTALL)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"There is nothing at {scope['path'][:200]!r}; /openapi.json lists what there is.")


class _Methods:
    """All methods of one address, as one endpoint, so that 405 can name the allowed ones."""

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
            spans = scope["context"].spans
            if spans is not None:
                scope["span"] = spans.begin(scope, caller_of(scope))
            if scope["query_string"] and not operation.ignores_unknown_query:
                _check_query(scope["query_string"], operation)
            reply = await (audited(operation, request) if operation.name in AUDITED else operation.endpoint(request))
        await reply(scope, receive, send)


def _check_query(text: bytes, operation: Operation) -> None:
    """InvalidRequest: a parameter is unknown. A mistyped filter must not return everything (C4)."""
    known = [query.name for query in operation.query]
    unknown = [name[:80] for name, _ in parse_qsl(text.decode("latin-1"), keep_blank_values=True) if name not in known]
    if unknown:
        there_are = f"there are {', '.join(known)}" if known else "there are none"
        raise InvalidRequest(f"Unknown query parameters: {', '.join(dict.fromkeys(unknown[:10]))}; {there_are}.")


class RequestMiddleware:
    """Adds the request id, checks access, turns errors into problem responses, and times the request."""

    def __init__(self, app: ASGIApp, context: Context, *, owns_calls: bool = False) -> None:
        self._app = app
        self._owns_calls = owns_calls
        self._context = context
        self._visitors = Visitors(context.settings.host)
        self._process, self._count = secrets.token_hex(6), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, sent = time.perf_counter(), 0, 0
        scope["context"] = self._context
        request_id, authorizations = b"", []
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value
            elif name == b"authorization":
                authorizations.append(value.decode("latin-1"))
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = f"{self._process}{next(self._count):06x}".encode()
        scope["request_id"] = request_id.decode()

        async def send_named(message: Message) -> None:
            nonlocal status, sent
            kind = message["type"]
            if kind != "http.response.body":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id))
            if "body" in message:
                sent += len(message["body"])
            if kind != WHOLE:
                await send(message)
            elif WHOLE in scope.get("extensions", ()):
                scope["extensions"][WHOLE](message)
            else:
                await send({"type": "http.response.start", "status": status, "headers": message["headers"]})
                await send({"type": "http.response.body", "body": message["body"]})

        try:
            if self._context.tokens.open and not scope["path"].startswith("/health/"):
                self._visitors.check(scope["headers"])
            if scope["path"].startswith("/v1"):
                scope["access"] = authenticate(self._context.tokens, authorizations)
            await self._app(scope, receive, send_named)
        except ClientDisconnect:
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
            if "room" in scope:
                self._context.room.give_back(scope["room"])
            seconds = time.perf_counter() - started
            if "operation" in scope:
                metrics.request_done(scope["operation"], status, seconds, scope.get("waited"))
            if logs.requests.isEnabledFor(logging.DEBUG):
                logs.request_done(scope, status, seconds, sent)
            if scope.get("span") is not None:
                scope["span"].end(status, scope.get("error_code"))
