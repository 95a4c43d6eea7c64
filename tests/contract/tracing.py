"""Shared by the tests of tracing: a server that traces, callers' trace contexts, and the compared parts of a span."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp

from broker import Broker
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.monitoring.spans import Spans
from http_api.settings import Settings
from tests.support.api import Json

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}
OTHER_TRACE, OTHER_SPAN = "1" * 32, "2" * 16
OWN = {"traceparent": f"00-{OTHER_TRACE}-{OTHER_SPAN}-01"}
PUBLISH, NEXT, ACK, NACK = (
    "/v1/streams/events/messages",
    "/v1/http-consumers/c/next",
    "/v1/http-consumers/c/ack",
    "/v1/http-consumers/c/nack",
)
LINES = {"content-type": "application/x-ndjson"}


@dataclass
class Traced:
    """A client of a server that traces, and the spans that its exporter got."""

    app: ASGIApp
    http: httpx.AsyncClient
    exporter: InMemorySpanExporter

    async def call(self, path: str, fields: Any = None, **headers: str) -> Json:
        reply = await self.http.post(path, json=fields or {}, headers=headers)
        assert reply.status_code in (200, 201), reply.text
        answer: Json = reply.json()
        return answer

    @property
    def spans(self) -> list[ReadableSpan]:
        """What ended since this was last asked for."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    async def span(self, path: str, fields: Any = None, **headers: str) -> tuple[Json, ReadableSpan]:
        """What a call answered, and its span."""
        answer = await self.call(path, fields, **headers)
        [span] = self.spans
        return answer, span


async def tracing(broker: Broker, sampler: Sampler) -> AsyncIterator[Traced]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tokens = AccessTokens(broker.store, open_mode=OpenMode())
    await tokens.start()
    app = create_app(broker, tokens, Settings(), spans=Spans(provider))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080") as http:
        yield Traced(app, http, exporter)
    await tokens.close()


def ids(context: Any) -> tuple[str, str]:
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def parent_of(span: ReadableSpan) -> tuple[str, str] | None:
    return None if span.parent is None else ids(span.parent)


def named_by(headers: Json) -> tuple[str, str]:
    """The trace and the span that a message's headers name."""
    _, trace, span, _ = headers["traceparent"].split("-")
    return trace, span


def shape(span: ReadableSpan) -> tuple[str, SpanKind, Json]:
    """Name, kind, and what is said of messages, without what all have."""
    attributes = dict(span.attributes or {})
    common = {
        "messaging.system": "stream_broker",
        "server.address": "localhost",
        "server.port": 8080,
        "http.response.status_code": 200,
    }
    assert {name: attributes.pop(name, None) for name in common} == common
    return span.name, span.kind, {name.removeprefix("messaging."): value for name, value in attributes.items()}
