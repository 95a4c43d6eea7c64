"""Request context: the objects that all endpoints of a server share."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from broker.access.tokens import AccessTokens
from broker.broker import Broker
from broker.messages.trace_context import trace_context
from http_api.bodies.memory_budget import MemoryBudget
from http_api.monitoring.scraping import Scraper
from http_api.settings import Settings

if TYPE_CHECKING:
    from http_api.monitoring.spans import RequestSpan, Spans


@dataclass(frozen=True, slots=True)
class Context:
    """The broker, access control, settings, API description, memory budgets and metrics of one server."""

    broker: Broker
    tokens: AccessTokens
    settings: Settings
    description: bytes
    room: MemoryBudget
    pages: asyncio.Semaphore  # bounds concurrent reads of pages
    uploads: asyncio.Semaphore  # bounds concurrent NDJSON uploads
    scraper: Scraper
    spans: "Spans | None" = None  # None: nothing is traced


def made(request: Request, kind: str, name: str | None, *, new: bool = True) -> None:
    """Set the object of the audit entry, which the address does not name. Not `new`: it existed; nothing changed."""
    request.scope["made"] = f"{kind} {name or ''}".rstrip()
    request.scope["unchanged"] = not new


def context(request: Request) -> Context:
    """The context of the app that serves the request."""
    found: Context = request.scope["context"]
    return found


def caller_of(scope: Mapping[str, Any]) -> dict[str, str] | None:
    """The trace context of a call, as message headers. None: it has none."""
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
    """The trace context for published messages: the request's span, else its caller's."""
    span = span_of(request)
    return caller_of(request.scope) if span is None else span.trace
