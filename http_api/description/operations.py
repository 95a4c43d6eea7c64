"""Texts of each operation in the API description: tag, summary, description, example bodies."""

from typing import Any, NamedTuple

TAGS = {
    "streams": "Named logs of messages.",
    "publishing": "Putting messages into a stream.",
    "consumers": "Named, durable positions over a stream.",
    "deliveries": "Fetching messages and settling their deliveries.",
    "dead letters": "Messages that will not be delivered again.",
    "tokens": "Who may do what.",
    "operations": "Health, metrics and this description. These need no token.",
}


class Words(NamedTuple):
    """The texts of one operation. `bodies`: named examples of the body."""

    tag: str
    summary: str
    description: str
    bodies: dict[str, Any] = {}  # noqa: RUF012 - never changed


_TOKEN = "1718000000000-0.1.17a2b3c4d5e6f708"  # noqa: S105 - an example
_RECORDS = {"messages": [{"collection_id": "stripe:customers", "upstream_id": "cus_1", "data": {"name": "Ada", "plan": "free"}}]}
_EVENTS = {"messages": [{"collection_id": "github:issues", "id": "evt-1", "event": "opened", "data": {"number": 7}}]}
_CHANGES = {"change": {"ack_wait_ms": 60000, "metadata": {"team": "billing"}}}

OPERATION_WORDS: dict[str, Words] = {
    "next": Words(
        "deliveries", "Fetch messages",
        "Deliver up to `batch_size` messages, redeliveries first. Waits until `min_batch` are deliverable or `wait_for` is over, and gives "
        "what there is. Each delivery is hidden from other workers until it is settled or its ack wait is over.",
    ),
    "nextByPost": Words(
        "deliveries", "Settle deliveries and fetch messages",
        "Like the GET, and `ack` and `nack` are settled first, in the same atomic step.",
        {"fetch": {"batch_size": 10, "wait_for": "30s"}, "settle and fetch": {"ack": [_TOKEN], "batch_size": 10}},
    ),
    "ack": Words(
        "deliveries", "Acknowledge deliveries",
        "The work is done. A token settles the delivery that it was made for; others are listed under `stale`. Safe to repeat.",
        {"ack": {"ack_tokens": [_TOKEN]}},
    ),
    "nack": Words(
        "deliveries", "Give deliveries back",
        "The work is not done: deliver the message again, at once or later, or make it a dead letter.",
        {
            "all alike": {"ack_tokens": [_TOKEN], "delay_ms": 2000},
            "each its own way": {"nacks": [{"ack_token": _TOKEN, "outcome": "reject", "reason": "no such shop"}]},
        },
    ),
    "extend": Words(
        "deliveries", "Take more time for deliveries", "The ack wait of each begins again.", {"extend": {"ack_tokens": [_TOKEN]}},
    ),
    "listPending": Words("deliveries", "List what is out", "Messages that are delivered and not settled. Changes nothing."),
    "listRetrying": Words(
        "deliveries", "List what is retried", "Messages that were delivered and wait to be delivered again. Changes nothing.",
    ),
    "releasePending": Words(
        "deliveries", "Release deliveries",
        "What is out is deliverable again at once and does not count; ack tokens given before are stale.",
        {"some": {"ids": ["1718000000000-0"]}, "all of a worker": {"worker": "pod-7"}},
    ),
    "peek": Words("deliveries", "Show the next messages", "What `next` would deliver, without delivering it."),
    "publish": Words(
        "publishing", "Publish messages",
        "Records or events, as the kind of the stream is. JSON is stored whole or not at all; NDJSON as it comes, a message a line.",
        {"records": _RECORDS, "events": _EVENTS},
    ),
    "listMessages": Words(
        "streams", "List or search messages",
        "What the stream holds, without a consumer: oldest first, or newest first with `order=desc`. A call looks at 10,000 messages and "
        "8 MiB at most; a search goes on from `next`.",
    ),
    "getMessage": Words("streams", "Get a message", "One message, and its state for each consumer of its stream."),
    "listScheduled": Words("streams", "List scheduled events", "Events that wait for their `deliver_at`, in its order."),
    "cancelScheduled": Words("streams", "Cancel a scheduled event", "It will not be delivered. Its id may be published again."),
    "getRecord": Words("streams", "Get a record", "The current version of one record."),
    "createStream": Words(
        "streams", "Create a stream",
        "201 and the stream; 200 where there is one with the same fields, 409 where there is one with others.",
        {"events": {"name": "orders", "kind": "events", "max_messages": 100000}},
    ),
    "listStreams": Words("streams", "List streams", "All streams by name, a page at a time."),
    "getStream": Words("streams", "Get a stream", "Its fields, and what it holds."),
    "updateStream": Words(
        "streams", "Change a stream", "Changes the fields that are named. Null takes a limit away.", {"limit": {"max_age_ms": 86400000}},
    ),
    "deleteStream": Words("streams", "Delete a stream", "With its messages; with its consumers too where `force` is true."),
    "createConsumer": Words(
        "consumers", "Create a consumer",
        "201 and the consumer; 200 where there is one with the same fields, 409 where there is one with others.",
        {"filtered": {"name": "crm", "filters": {"provider": "stripe"}, "max_deliver": 5, "backoff_ms": [1000, 30000]}},
    ),
    "listConsumers": Words("consumers", "List consumers", "All consumers by name, a page at a time."),
    "getConsumer": Words("consumers", "Get a consumer", "Its fields and its counts."),
    "updateConsumer": Words("consumers", "Change a consumer", "Changes the fields that are named.", _CHANGES),
    "replaceConsumer": Words("consumers", "Change a consumer by PUT", "The same as PATCH.", _CHANGES),
    "deleteConsumer": Words("consumers", "Delete a consumer", "With all its delivery state. The messages stay in the stream."),
    "resetConsumer": Words(
        "consumers", "Start a consumer again", "Forgets what is out, waiting and dead. Ack tokens given before are stale.",
        {"from the start": {"deliver_policy": "all"}},
    ),
    "pauseConsumer": Words(
        "consumers", "Pause a consumer", "It delivers nothing, waiting calls return empty, and settling still works.",
        {"for a while": {"until": "2030-01-01T00:00:00Z"}, "until it is resumed": {"until": None}},
    ),
    "resumeConsumer": Words("consumers", "Resume a consumer", "It delivers again."),
    "listDeadLetters": Words("dead letters", "List dead letters", "Messages that used up `max_deliver` or were rejected, oldest first."),
    "summarizeDeadLetters": Words(
        "dead letters", "Count dead letters by group", "By reason, last nack reason and collection; the 100 largest groups.",
    ),
    "redrive": Words(
        "dead letters", "Put dead letters back", "They are delivered again to this consumer, with their deliver count at its start.",
        {"some": {"ids": ["1718000000000-0"]}, "all that match": {"reason": "rejected", "limit": 100}},
    ),
    "purgeDeadLetters": Words("dead letters", "Delete dead letters", "Those with these ids, or all."),
    "createToken": Words(
        "tokens", "Create an access token", "The answer tells the token this once; a hash of it is kept.",
        {"worker": {"name": "billing", "scopes": ["consume:billing"], "expires_in": "90d"}},
    ),
    "listTokens": Words("tokens", "List access tokens", "Without their texts."),
    "access": Words("tokens", "What the caller may do", "By the token's scopes; on an open server everything."),
    "revokeToken": Words("tokens", "Revoke an access token", "It is refused from now on, on every server."),
    "listAudit": Words(
        "tokens", "Read the audit log",
        "Who changed which stream, consumer or token, newest first. It keeps the last 10,000 changes. Needs the scope `admin` or `read`.",
    ),
    "live": Words("operations", "Is the process alive", "Always 200."),
    "ready": Words("operations", "Can workers be served", "200 where Redis answers and lets them settle, else 503 with the reason."),
    "metrics": Words("operations", "Metrics", "In the text format of Prometheus."),
    "openapi": Words("operations", "This description", "OpenAPI 3.1."),
}  # fmt: skip
