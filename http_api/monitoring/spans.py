"""Tracing spans of publishing, receiving and settling, by OpenTelemetry's conventions (docs/decisions/0031).

The only module that imports OpenTelemetry. It is imported only if tracing is on.
"""

import logging
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from opentelemetry.context import Context as TraceContext
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)  # fmt: skip
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from broker import __version__
from broker.consumers.batches import Batch
from broker.messages.names import is_name

logger = logging.getLogger("broker")
_W3C = TraceContextTextMapPropagator()
# A part of the 10 s that C45 allows, after calls in flight have finished.
FLUSH_S = 1.0
# The conventions for messaging are still in development, and the package's constants private; a test compares them.
_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
_SYSTEM = "stream_broker"


class _Kind(NamedTuple):
    name: str
    type: str
    kind: SpanKind


_RECEIVE = _Kind("receive", "receive", SpanKind.CLIENT)
_TRACED = {
    "publish": _Kind("publish", "send", SpanKind.PRODUCER),
    "next": _RECEIVE,
    "nextByPost": _RECEIVE,
    "ack": _Kind("ack", "settle", SpanKind.CLIENT),
    "nack": _Kind("nack", "settle", SpanKind.CLIENT),
}


_NAMED = (("stream", "messaging.destination.name"), ("consumer", "messaging.consumer.group.name"))


class _Headers(msgspec.Struct):
    headers: dict[str, str] | None = None


_HEADERS = msgspec.json.Decoder(_Headers)


def provider_of(exporter: str) -> TracerProvider:
    """A provider that makes and sends spans, configured by the OTEL_* variables. `exporter`: otlp or console."""
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "stream-broker"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # Not standard output, where a worker process sends its heartbeat.
    sender = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter(out=sys.stderr)
    provider.add_span_processor(BatchSpanProcessor(sender))
    return provider


class Spans:
    """Makes the spans of a process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("stream-broker", __version__, schema_url=_SCHEMA)
        self._most_links = SpanLimits().max_links

    def begin(self, scope: Mapping[str, Any], caller: dict[str, str] | None) -> "RequestSpan | None":
        """The span of a request that publishes, receives or settles, as a child of its caller's span."""
        traced = _TRACED.get(scope["operation"])
        if traced is None:
            return None
        attributes: dict[str, str | int] = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": traced.name,
            "messaging.operation.type": traced.type,
        }
        if scope.get("server"):
            attributes["server.address"], attributes["server.port"] = scope["server"][0], scope["server"][1] or 0
        name = traced.name
        for kind, attribute in _NAMED:
            given = scope["path_params"].get(kind)
            if given is not None and is_name(given):
                attributes[attribute] = given
                name = f"{traced.name} {given}"
        parent = _W3C.extract(caller or {}, TraceContext())
        span = self._tracer.start_span(name, parent, traced.kind, attributes)
        return RequestSpan(span, caller, self._most_links)

    def close(self) -> None:
        """Send the remaining spans, within the time limit."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True, name="broker-spans")
        sending.start()
        sending.join(FLUSH_S)
        if sending.is_alive():
            logger.warning("the last spans were not taken within %g s, and are lost", FLUSH_S)


class RequestSpan:
    """The span of one request. `trace`: headers for published messages; `ids`: fields for log lines."""

    def __init__(self, span: Any, caller: dict[str, str] | None, most_links: int | None) -> None:
        self._span, self._most_links = span, most_links
        context: SpanContext = span.get_span_context()
        self.ids = {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
        self.trace = caller
        if context.trace_flags.sampled:
            self.trace = {}
            _W3C.inject(self.trace, set_span_in_context(span))
        self._count: int | None = None
        self._first: str | None = None

    def about(self, count: int, first: str | None) -> None:
        """Add to the request's number of messages. `first`: the id of the first one."""
        if not self._count:
            self._first = first
        self._count = (self._count or 0) + count

    def received(self, batch: Batch, worker: str) -> None:
        """Record a fetched batch, and link each message to the call that published it, up to the limit of links."""
        found = batch.deliveries
        self.about(len(found), found[0].id if found else None)
        if worker:
            self._span.set_attribute("messaging.client.id", worker)
        if found:
            self._span.set_attribute("messaging.destination.name", found.stream)
        if self._span.is_recording():
            for delivery in found[: self._most_links]:
                origin = _origin(delivery.json)
                if origin.is_valid:
                    self._span.add_link(origin, {"messaging.message.id": delivery.id})
        self.settled(batch.settled.acked, batch.settled.nacked, len(batch.settled.stale))

    def settled(self, acked: int = 0, nacked: int = 0, stale: int = 0) -> None:
        """Record the numbers of settled deliveries and stale tokens."""
        for name, count in (("acked", acked), ("nacked", nacked), ("stale", stale)):
            if count:
                self._span.set_attribute(f"messaging.{_SYSTEM}.{name}_count", count)

    def end(self, status: int, code: str | None) -> None:
        """End the span. `status`: 0 = the client disconnected; `code`: the error's."""
        if self._count is not None:
            self._span.set_attribute("messaging.batch.message_count", self._count)
            if self._count == 1 and self._first is not None:
                self._span.set_attribute("messaging.message.id", self._first)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if not 200 <= status < 300:
            self._span.set_attribute("error.type", code or (str(status) if status else "disconnected"))
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _origin(message: bytes) -> SpanContext:
    """The span context in a message's headers, in any case; invalid if there is none."""
    carried: dict[str, str] = {}
    if b"raceparent" in message or b"RACEPARENT" in message:
        with suppress(msgspec.DecodeError):
            carried = _HEADERS.decode(message).headers or {}
    context = _W3C.extract({name.lower(): text for name, text in carried.items()}, TraceContext())
    return get_current_span(context).get_span_context()
