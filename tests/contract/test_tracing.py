"""Spans of publish, next, ack and nack, as an exporter gets them: names, kinds, attributes, parents, links."""

import logging
from collections.abc import AsyncIterator

import msgpack
import msgspec
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Message

from broker import Broker, Store
from http_api.monitoring import logs
from tests.contract.helpers import body, event, plain_add, record
from tests.contract.tracing import (
    ACK,
    CALLER,
    LINES,
    NACK,
    NEXT,
    OTHER_SPAN,
    OTHER_TRACE,
    OWN,
    PUBLISH,
    SPAN,
    TRACE,
    Traced,
    ids,
    named_by,
    parent_of,
    shape,
    tracing,
)
from tests.support.api import Json

pytestmark = pytest.mark.anyio


@pytest.fixture
async def traced(broker: Broker) -> AsyncIterator[Traced]:
    async for made in tracing(broker, ParentBased(ALWAYS_ON)):
        await made.call("/v1/http-consumers", {"name": "c", "stream_id": "events"})
        yield made


@pytest.fixture
async def unsampled(broker: Broker) -> AsyncIterator[Traced]:
    async for made in tracing(broker, ALWAYS_OFF):
        yield made


async def test_the_trace_of_a_message_from_publish_to_ack(traced: Traced) -> None:
    published, publish = await traced.span(PUBLISH, {"messages": [event(1)]}, **CALLER)
    message = published["data"][0]["message_id"]
    assert shape(publish) == (
        "publish events", SpanKind.PRODUCER,
        {"operation.name": "publish", "operation.type": "send", "destination.name": "events", "batch.message_count": 1,
         "message.id": message},
    )  # fmt: skip
    assert (parent_of(publish), ids(publish.context)[0], publish.links) == ((TRACE, SPAN), TRACE, ())

    batch, receive = await traced.span(NEXT, {"batch_size": 5, "worker": "w1"}, **OWN)
    [delivery] = batch["data"]
    assert shape(receive) == (
        "receive c", SpanKind.CLIENT,
        {"operation.name": "receive", "operation.type": "receive", "consumer.group.name": "c",
         "destination.name": "events", "client.id": "w1", "batch.message_count": 1, "message.id": message},
    )  # fmt: skip
    assert parent_of(receive) == (OTHER_TRACE, OTHER_SPAN)
    [link] = receive.links
    assert ids(link.context) == ids(publish.context) == named_by(body(delivery)["headers"])
    assert dict(link.attributes or {}) == {"messaging.message.id": message}
    assert body(delivery)["headers"]["tracestate"] == CALLER["tracestate"] == link.context.trace_state.to_header()

    _, ack = await traced.span(ACK, {"ack_tokens": [delivery["ack_token"]]}, **OWN)
    assert shape(ack) == (
        "ack c", SpanKind.CLIENT,
        {"operation.name": "ack", "operation.type": "settle", "consumer.group.name": "c",
         "batch.message_count": 1, "message.id": message, "stream_broker.acked_count": 1},
    )  # fmt: skip
    assert (parent_of(ack), ack.links) == ((OTHER_TRACE, OTHER_SPAN), ())
    assert {span.status.status_code for span in (publish, receive, ack)} == {StatusCode.UNSET}


async def test_without_a_caller_a_publish_begins_a_trace(traced: Traced) -> None:
    _, publish = await traced.span(PUBLISH, {"messages": [event(1)]})
    reply = await traced.http.get(NEXT)
    [receive] = traced.spans
    assert (publish.parent, receive.parent, receive.name) == (None, None, "receive c")
    assert [ids(link.context) for link in receive.links] == [ids(publish.context)]
    assert named_by(body(reply.json()["data"][0])["headers"]) == ids(publish.context)


async def test_messages_with_a_trace_of_their_own_keep_it_and_are_linked_by_it(traced: Traced, store: Store) -> None:
    spelled = {"Traceparent": OWN["traceparent"]}
    given = [None, OWN, spelled, {"traceparent": "nonsense"}]
    messages = [event(i, headers=headers) for i, headers in enumerate(given)]
    _, publish = await traced.span(PUBLISH, {"messages": messages}, **CALLER)
    await plain_add(store, "data", '{"headers":{"traceparent":"00-1"}}', "headers", msgspec.json.encode(OWN).decode())
    await plain_add(store, "data", msgspec.json.encode({"headers": OWN}).decode())
    batch, receive = await traced.span(NEXT, {"batch_size": 9})
    assert [body(row)["headers"] for row in batch["data"][1:]] == [OWN, spelled, {"traceparent": "nonsense"}, OWN, None]
    expected = [ids(publish.context), *[(OTHER_TRACE, OTHER_SPAN)] * 3]
    assert [ids(link.context) for link in receive.links] == expected
    linked = [(link.attributes or {})["messaging.message.id"] for link in receive.links]
    assert linked == [batch["data"][i]["id"] for i in (0, 1, 2, 4)]


async def test_a_publish_of_lines_or_messagepack_is_one_span(traced: Traced) -> None:
    lines = b"".join(msgspec.json.encode(event(i)) + b"\n" for i in range(600))
    await traced.http.post(PUBLISH, content=lines, headers=LINES | CALLER)
    packed = msgpack.packb({"messages": [event(1), event(2)]})
    await traced.http.post(PUBLISH, content=packed, headers={"content-type": "application/msgpack"})
    by_lines, by_messagepack = traced.spans
    counts = [(span.attributes or {})["messaging.batch.message_count"] for span in (by_lines, by_messagepack)]
    assert (by_lines.name, by_messagepack.name, counts) == ("publish events", "publish events", [600, 2])
    assert parent_of(by_lines) == (TRACE, SPAN)
    batch, receive = await traced.span(NEXT, {"batch_size": 1000})
    origins = [named_by(body(row)["headers"]) for row in batch["data"]]
    assert origins == [ids(by_lines.context)] * 600 + [ids(by_messagepack.context)] * 2
    assert (receive.attributes or {})["messaging.batch.message_count"] == 602
    assert [ids(link.context) for link in receive.links] == origins[:128]  # as many as a span has


async def test_a_record_from_another_traced_call_stays_the_same_version(traced: Traced) -> None:
    fields = {"messages": [record("a", 1)]}
    await traced.call("/v1/streams/records/messages", fields, **CALLER)
    assert (await traced.call("/v1/streams/records/messages", fields, **OWN))["info"] == {"unchanged": 1}
    assert (await traced.call("/v1/streams/records/messages", fields))["info"] == {"unchanged": 1}


async def test_nacks_and_a_fetch_that_settles_say_how_many(traced: Traced) -> None:
    await traced.call(PUBLISH, {"messages": [event(i) for i in range(3)]})
    first, second, third = [row["ack_token"] for row in (await traced.call(NEXT, {"batch_size": 3}))["data"]]
    _ = traced.spans
    _, nack = await traced.span(NACK, {"ack_tokens": [first, "1-0.1.9f1c0a7be2d34856"]})
    name, kind, reported = shape(nack)
    assert (name, kind, reported["operation.type"]) == ("nack c", SpanKind.CLIENT, "settle")
    assert {k: v for k, v in reported.items() if "count" in k or "id" in k} == {
        "batch.message_count": 2, "stream_broker.nacked_count": 1, "stream_broker.stale_count": 1,
    }  # fmt: skip
    _, receive = await traced.span(NEXT, {"ack": [second, first], "nack": [{"ack_token": third, "delay_ms": 60_000}]})
    assert {k: v for k, v in shape(receive)[2].items() if "count" in k} == {
        "batch.message_count": 1,
        "stream_broker.acked_count": 1,
        "stream_broker.nacked_count": 1,
        "stream_broker.stale_count": 1,
    }


async def test_an_empty_fetch_has_no_message(traced: Traced) -> None:
    _, receive = await traced.span(NEXT)
    assert shape(receive)[2] == {
        "operation.name": "receive", "operation.type": "receive", "consumer.group.name": "c", "batch.message_count": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "fields", "name", "status", "error"),
    [
        (PUBLISH, {"messages": [{}]}, "publish events", 422, "VALIDATION_FAILED"),
        ("/v1/http-consumers/none/next", {}, "receive none", 404, "CONSUMER_NOT_FOUND"),
        (ACK, {"ack_tokens": ["x"]}, "ack c", 400, "INVALID_ACK_TOKEN"),
        (
            "/v1/http-consumers/no%20name/nack",
            {"ack_tokens": ["1-0.1.9f1c0a7be2d34856"]},
            "nack",
            404,
            "CONSUMER_NOT_FOUND",
        ),
        (f"{PUBLISH}?unknown=1", {}, "publish events", 400, "INVALID_REQUEST"),
    ],
)
async def test_a_refusal_is_an_error_of_its_span(
    traced: Traced, path: str, fields: Json, name: str, status: int, error: str
) -> None:  # fmt: skip
    assert (await traced.http.post(path, json=fields)).status_code == status
    [span] = traced.spans
    reported = dict(span.attributes or {})
    assert (span.name, reported["http.response.status_code"], reported["error.type"]) == (name, status, error)
    assert (span.status.status_code, "messaging.batch.message_count" in reported) == (StatusCode.ERROR, False)


async def test_lines_that_stop_at_a_bad_one_say_how_many_are_stored(traced: Traced) -> None:
    reply = await traced.http.post(PUBLISH, content=msgspec.json.encode(event(1)) + b"\nbad\n", headers=LINES)
    [span] = traced.spans
    reported = dict(span.attributes or {})
    assert reply.status_code == 422
    assert (reported["error.type"], reported["messaging.batch.message_count"]) == ("VALIDATION_FAILED", 1)


async def test_a_client_that_goes_away_is_an_error_too(traced: Traced) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise AssertionError

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": PUBLISH, "query_string": b"", "headers": headers}
    await traced.app(scope, receive, send)
    [span] = traced.spans
    assert dict(span.attributes or {})["error.type"] == "disconnected"
    assert span.status.status_code is StatusCode.ERROR


async def test_only_calls_about_messages_have_spans(traced: Traced) -> None:
    consumer = "/v1/http-consumers/c"
    for path in ("/health/live", "/metrics", "/v1/streams", PUBLISH, consumer, f"{consumer}/peek", "/elsewhere"):
        await traced.http.get(path, headers=CALLER)
    assert traced.spans == []


async def test_a_caller_that_does_not_sample_is_passed_on_as_it_came(traced: Traced) -> None:
    silent = {"traceparent": CALLER["traceparent"].removesuffix("01") + "00"}
    await traced.call(PUBLISH, {"messages": [event(1)]}, **silent)
    assert traced.spans == []
    batch, receive = await traced.span(NEXT)
    assert body(batch["data"][0])["headers"] == silent
    assert [ids(link.context) for link in receive.links] == [(TRACE, SPAN)]


async def test_a_publish_that_is_not_sampled_adds_nothing_of_its_own(unsampled: Traced) -> None:
    for headers in ({}, CALLER):
        await unsampled.call(PUBLISH, {"messages": [event(1)]}, **headers)
    rows = (await unsampled.http.get(PUBLISH)).json()["data"]
    assert [body(row)["headers"] for row in rows] == [None, CALLER]
    assert unsampled.spans == []


async def test_c64_lines_carry_the_ids_of_their_span(
    traced: Traced, store: Store, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, "broker")
    await traced.call(PUBLISH, {"messages": [event(1)]}, **CALLER)
    await traced.http.get("/v1/streams")
    await store.call("HSET", "broker:{events}:consumer:c", "max_ack_pending", "no number")
    assert (await traced.http.get(NEXT)).status_code == 500
    publish, receive = traced.spans
    rows = [msgspec.json.decode(logs._Json().format(row)) for row in caplog.records if row.name.startswith("broker")]
    lines = {(row["message"], row.get("operation")): (row.get("trace_id"), row.get("span_id")) for row in rows}
    assert lines[("request", "publish")] == ids(publish.context)
    assert lines[("request", "next")] == ids(receive.context)
    assert lines[("a request ended with a fault of the server", "next")] == ids(receive.context)
    assert lines[("request", "listStreams")] == (None, None)
    assert (receive.attributes or {})["error.type"] == "INTERNAL"


async def test_attributes_are_those_of_the_conventions_or_of_the_systems_own(traced: Traced) -> None:
    batch = await traced.call(PUBLISH, {"messages": [event(1)]}) and await traced.call(NEXT, {"worker": "w"})
    await traced.call(ACK, {"ack_tokens": [batch["data"][0]["ack_token"]]})
    await traced.http.post(NACK, json={})
    modules = (messaging_attributes, error_attributes, http_attributes, server_attributes)
    conventions = {value for module in modules for name, value in vars(module).items() if name.isupper()}
    deprecated = {"publish", "deliver"}
    types = {kind.value for kind in messaging_attributes.MessagingOperationTypeValues} - deprecated
    spans = traced.spans
    assert len(spans) == 4
    for span in spans:
        reported = dict(span.attributes or {})
        assert {name for name in reported if not name.startswith("messaging.stream_broker.")} <= conventions
        assert reported["messaging.operation.type"] in types
