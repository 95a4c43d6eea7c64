"""What the endpoints of one server share."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from broker.access.tokens import AccessTokens
from broker.broker import Broker
from broker.messages.trace_context import trace_context
from http_api.bodies.room import Room
from http_api.monitoring.scraping import Scraper
from http_api.settings import Settings

if TYPE_CHECKING:
    from http_api.monitoring.spans import RequestSpan, Spans


@dataclass(frozen=True, slots=True)
class Context:
    """The broker, who may use it, how the server runs, the API description as JSON, room for bodies, and what is asked at scrapes."""

    broker: Broker
    tokens: AccessTokens
    settings: Settings
    description: bytes
    room: Room
    pages: asyncio.Semaphore  # who may read a page at a time
    uploads: asyncio.Semaphore  # and who may send lines
    scraper: Scraper
    spans: "Spans | None" = None  # None: nothing is traced


def made(request: Request, kind: str, name: str | None, *, new: bool = True) -> None:
    """Say for the audit log what a call makes, which its address does not name; not `new`: it was there, and nothing changed."""
    request.scope["made"] = f"{kind} {name or ''}".rstrip()
    request.scope["unchanged"] = not new


def context(request: Request) -> Context:
    """The context of the app that serves the request."""
    found: Context = request.scope["context"]
    return found


def caller_of(scope: Mapping[str, Any]) -> dict[str, str] | None:
    """Where a call says that it comes from, as the headers of a message would; None: it does not."""
    found: dict[bytes, list[str]] = {b"traceparent": [], b"tracestate": []}
    for name, value in scope["headers"]:
        if name in found:
            found[name].append(value.decode("latin-1"))
    return trace_context(*found.values()) if found[b"traceparent"] else None


def span_of(request: Request) -> "RequestSpan | None":
    """The span of the request; None: it is not traced."""
    span: RequestSpan | None = request.scope.get("span")
    return span


def trace_of(request: Request) -> dict[str, str] | None:
    """Where the messages that a call publishes come from: its span, or where it has none its caller."""
    span = span_of(request)
    return caller_of(request.scope) if span is None else span.trace
