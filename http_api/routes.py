"""Table of all operations, for the router and the API description."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broker.consumers.dead_letters import LettersSummary, Redriven
from broker.consumers.fields import Consumer, ConsumerChanges, ConsumerSpec
from broker.streams.lifecycle import Stream, StreamChanges, StreamSpec
from http_api.endpoints import audit, consumers, dead_letters, deliveries, health, streams, tokens
from http_api.shapes import answers, requests

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter, its JSON schema and its meaning."""

    name: str
    schema: dict[str, Any]
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address. `errors`: the statuses that it may return in addition to those of every call."""

    method: str
    path: str
    endpoint: Endpoint
    name: str
    answer: type
    body: type | tuple[type, ...] | None = None
    status: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    query: tuple[Query, ...] = ()
    public: bool = False
    heads: bool = True  # whether HEAD works as GET; not if GET has effects
    ignores_unknown_query: bool = False


_AFTER = Query("after", {"type": "string"}, "The `next` of the page before.")
_LIMIT = Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "How many at most.")
_COLLECTION = Query("collection_id", {"type": "string"}, "Only of this collection.")
_NEXT_QUERY = (
    Query("batch_size", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1}, "How many messages at most."),
    Query("min_batch", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1}, "Wait until so many are deliverable."),
    Query("wait_for", {"type": "string", "default": "0"}, "How long to wait: ms up to 300000, or such as 500ms, 30s, 5m."),
    Query("worker", {"type": "string", "pattern": "^[!-~]{1,64}$"}, "Who asks: shown with what is out."),
)
_SEARCH = (
    Query("from", {"type": "string", "format": "date-time"}, "Only what was appended then or later."),
    Query("to", {"type": "string", "format": "date-time"}, "Only what was appended then or earlier."),
    Query("id", {"type": "string"}, "Only the record, event or message with this id."),
    Query("upstream_id", {"type": "string"}, "Only with this upstream_id."),
    Query("resource_id", {"type": "string"}, "Only with this resource_id."),
    Query("key", {"type": "string"}, "Only events with this key."),
    Query("contains", {"type": "string"}, "Only with this text in the JSON of `data`."),
    Query("order", {"enum": ["asc", "desc"], "default": "asc"}, "asc: oldest first; desc: newest first."),
)
_STREAMS, _STREAM = "/v1/streams", "/v1/streams/{stream}"
_CONSUMERS, _CONSUMER = "/v1/http-consumers", "/v1/http-consumers/{consumer}"
_BODY = (413, 415, 422)

# The audited operations: all changes except those of workers and publishers.
AUDITED = frozenset({
    "createStream", "updateStream", "deleteStream", "cancelScheduled", "createConsumer", "updateConsumer", "replaceConsumer",
    "deleteConsumer", "resetConsumer", "pauseConsumer", "resumeConsumer", "releasePending", "redrive", "purgeDeadLetters",
    "createToken", "revokeToken",
})  # fmt: skip

# The busiest first: the router searches in this order.
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET", _CONSUMER + "/next", deliveries.next_, "next", answers.NextAnswer, errors=(404, 429), query=_NEXT_QUERY, heads=False,
        ignores_unknown_query=True,
    ),
    Operation(
        "POST", _CONSUMER + "/next", deliveries.next_, "nextByPost", answers.NextAnswer, requests.NextRequest,
        errors=(404, 413, 415, 429), query=_NEXT_QUERY, ignores_unknown_query=True,
    ),
    Operation("POST", _CONSUMER + "/ack", deliveries.ack, "ack", answers.Acked, requests.AckRequest, errors=(404, 413, 415)),
    Operation("POST", _CONSUMER + "/nack", deliveries.nack, "nack", answers.Nacked, requests.NackRequest, errors=(404, 413, 415)),
    Operation(
        "POST", _STREAM + "/messages", streams.publish, "publish", answers.PublishAnswer,
        (requests.PublishRecords, requests.PublishEvents), errors=(404, *_BODY),
    ),
    Operation("POST", _STREAMS, streams.create, "createStream", Stream, StreamSpec, (200, 201), (409, *_BODY)),
    Operation("GET", _STREAMS, streams.page, "listStreams", answers.StreamPage, query=(_AFTER, _LIMIT)),
    Operation("GET", _STREAM, streams.show, "getStream", Stream, errors=(404,)),
    Operation("PATCH", _STREAM, streams.update, "updateStream", Stream, StreamChanges, errors=(404, *_BODY)),
    Operation(
        "DELETE", _STREAM, streams.delete, "deleteStream", answers.Deleted, errors=(404, 409),
        query=(Query("force", {"type": "boolean", "default": False}, "Delete its consumers too."),),
    ),
    Operation(
        "GET", _STREAM + "/messages", streams.messages, "listMessages", answers.MessagePage, errors=(404,),
        query=(_AFTER, _LIMIT, _COLLECTION, *_SEARCH),
    ),
    Operation("GET", _STREAM + "/messages/{message_id}", streams.message, "getMessage", answers.MessageAnswer, errors=(404,)),
    Operation(
        "GET", _STREAM + "/scheduled", streams.scheduled, "listScheduled", answers.ScheduledPage, errors=(404,), query=(_AFTER, _LIMIT),
    ),
    Operation("DELETE", _STREAM + "/scheduled/{id:path}", streams.cancel, "cancelScheduled", answers.Cancelled, errors=(404,)),
    Operation("GET", _STREAM + "/records/{id:path}", streams.record, "getRecord", answers.Record, errors=(404,)),
    Operation("POST", _CONSUMERS, consumers.create, "createConsumer", answers.ConsumerObject, ConsumerSpec, (200, 201), (409, *_BODY)),
    Operation(
        "GET", _CONSUMERS, consumers.page, "listConsumers", answers.ConsumerPage,
        query=(
            _AFTER,
            _LIMIT,
            Query("stream_id", {"type": "string"}, "Only of this stream."),
            Query("metadata", {"type": "string"}, "A JSON object: only consumers whose metadata contain it."),
            Query("info", {"type": "boolean", "default": False}, "Whether each has its counts."),
        ),
    ),
    Operation("GET", _CONSUMER, consumers.show, "getConsumer", Consumer, errors=(404,)),
    Operation("PATCH", _CONSUMER, consumers.update, "updateConsumer", answers.ConsumerObject, ConsumerChanges, errors=(404, *_BODY)),
    Operation("PUT", _CONSUMER, consumers.update, "replaceConsumer", answers.ConsumerObject, ConsumerChanges, errors=(404, *_BODY)),
    Operation("DELETE", _CONSUMER, consumers.delete, "deleteConsumer", answers.Deleted, errors=(404,)),
    Operation("GET", _CONSUMER + "/pending", deliveries.pending, "listPending", answers.PendingPage, errors=(404,), query=(_AFTER, _LIMIT)),
    Operation(
        "POST", _CONSUMER + "/pending/release", deliveries.release, "releasePending", answers.Released, requests.ReleaseRequest,
        errors=(404, *_BODY),
    ),
    Operation(
        "GET", _CONSUMER + "/retrying", deliveries.retrying, "listRetrying", answers.RetryingPage, errors=(404,), query=(_AFTER, _LIMIT),
    ),
    Operation(
        "GET", _CONSUMER + "/peek", deliveries.peek, "peek", answers.PeekAnswer, errors=(404,),
        query=(Query("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10}, "How many at most."),),
    ),
    Operation(
        "GET", _CONSUMER + "/dead-letters", dead_letters.page, "listDeadLetters", answers.DeadLetterPage, errors=(404,),
        query=(_AFTER, _LIMIT, _COLLECTION, Query("reason", {"enum": ["max_deliver", "rejected"]}, "Only these.")),
    ),
    Operation("GET", _CONSUMER + "/dead-letters/summary", dead_letters.summary, "summarizeDeadLetters", LettersSummary, errors=(404,)),
    Operation(
        "POST", _CONSUMER + "/dead-letters/redrive", dead_letters.redrive, "redrive", Redriven, requests.RedriveRequest,
        errors=(404, *_BODY),
    ),
    Operation(
        "DELETE", _CONSUMER + "/dead-letters", dead_letters.purge, "purgeDeadLetters", answers.Purged, errors=(404,),
        query=(
            Query("ids", {"type": "string"}, "Message ids, separated by commas or one by one."),
            Query("all", {"type": "boolean", "default": False}, "All of them."),
        ),
    ),
    Operation("POST", _CONSUMER + "/extend", deliveries.extend, "extend", answers.Extended, requests.AckRequest, errors=(404, 413, 415)),
    Operation("POST", _CONSUMER + "/reset", consumers.reset, "resetConsumer", Consumer, requests.ResetRequest, errors=(404, *_BODY)),
    Operation("POST", _CONSUMER + "/pause", consumers.pause, "pauseConsumer", Consumer, requests.PauseRequest, errors=(404, *_BODY)),
    Operation("POST", _CONSUMER + "/resume", consumers.resume, "resumeConsumer", Consumer, errors=(404,)),
    Operation("POST", "/v1/tokens", tokens.create, "createToken", answers.CreatedToken, requests.TokenRequest, (201,), _BODY),
    Operation("GET", "/v1/tokens", tokens.page, "listTokens", answers.TokenList),
    Operation("GET", "/v1/access", tokens.access, "access", answers.AccessObject),
    Operation("DELETE", "/v1/tokens/{name}", tokens.revoke, "revokeToken", answers.Deleted, errors=(404,)),
    Operation("GET", "/v1/audit", audit.page, "listAudit", answers.AuditPage, query=(_AFTER, _LIMIT)),
    Operation("GET", "/health/live", health.live, "live", answers.Health, public=True),
    Operation("GET", "/health/ready", health.ready, "ready", answers.Health, status=(200, 503), public=True),
    Operation("GET", "/metrics", health.show_metrics, "metrics", str, public=True),
    Operation("GET", "/openapi.json", health.openapi, "openapi", dict, public=True),
)  # fmt: skip
