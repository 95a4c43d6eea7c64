"""Types of answers that the library does not define."""

from typing import Annotated, Any

import msgspec

from broker.access.audit import AuditEntry
from broker.access.tokens import AccessToken
from broker.consumers.batches import PendingDelivery, Settlement
from broker.consumers.fields import Backoff, ConsumerInfo, Ordering
from broker.consumers.filters import Filters
from broker.streams.inspection import MessageState, Retrying, Scheduled
from broker.streams.lifecycle import Stream
from broker.streams.publishing import Published

Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Tokens = Annotated[list[str], msgspec.Meta(min_length=1, max_length=1000)]


class Record(msgspec.Struct):
    """A delivered record."""

    id: str
    collection_id: str
    provider: str
    resource_id: str | None
    stream_id: str
    upstream_id: str | None
    data: Any
    deleted: bool
    updated_idx: int
    inserted_at: Time
    upstream_created_at: str | None
    upstream_updated_at: str | None
    headers: dict[str, str] | None


class Event(msgspec.Struct):
    """A delivered event."""

    id: str
    collection_id: str
    provider: str
    resource_id: str | None
    stream_id: str
    upstream_id: str | None
    event: str
    data: Any
    changes: dict[str, Any] | None
    key: str | None
    updated_idx: int
    inserted_at: Time
    upstream_created_at: str | None
    upstream_updated_at: str | None
    headers: dict[str, str] | None


class ConsumerObject(msgspec.Struct, omit_defaults=True):
    """A consumer. `info` comes with the answer for one consumer, `paused` and `paused_until` only while it is paused.

    `warnings` come with its creation, if fields may cause trouble.
    """

    id: str
    name: str
    stream_id: str
    ack_wait_ms: int
    max_deliver: int
    max_ack_pending: int
    max_waiting: int
    deliver_policy: str
    filters: Filters
    ordering: Ordering
    backoff_ms: Backoff
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time
    info: ConsumerInfo | msgspec.UnsetType = msgspec.UNSET
    paused: bool = False
    paused_until: Time | None = None
    warnings: list[str] = []


class Message(msgspec.Struct, omit_defaults=True):
    """A stored message: its id, and the record or the event."""

    id: str
    record: Record | None = None
    event: Event | None = None


class DeliveryObject(msgspec.Struct, omit_defaults=True):
    """A message handed to a worker, with the token that settles it."""

    ack_token: str
    id: str
    deliver_count: int
    record: Record | None = None
    event: Event | None = None


class Counts(msgspec.Struct):
    """The consumer's counts after the call."""

    num_pending: int
    num_ack_pending: int


class NextAnswer(msgspec.Struct, omit_defaults=True):
    """A batch; `settled` comes if the call settled something."""

    data: list[DeliveryObject]
    info: Counts
    settled: Settlement | None = None


class Extended(msgspec.Struct):
    """How many were extended, and the stale tokens."""

    extended: int
    stale: list[str]


class Purged(msgspec.Struct):
    """How many dead letters were deleted."""

    purged: int


class Acked(msgspec.Struct):
    """How many were acked, and the stale tokens."""

    acked: int
    stale: list[str]


class Nacked(msgspec.Struct):
    """How many were nacked, and the stale tokens."""

    nacked: int
    stale: list[str]


class PublishAnswer(msgspec.Struct):
    """One row per message in order, and the number of messages per status."""

    data: list[Published]
    info: dict[str, int]


class PeekedObject(msgspec.Struct, omit_defaults=True):
    """A message that would be delivered next."""

    id: str
    deliver_count: int
    record: Record | None = None
    event: Event | None = None


class DeadLetterObject(msgspec.Struct, omit_defaults=True):
    """A message that will not be delivered again."""

    id: str
    deliver_count: int
    reason: str
    last_nack_reason: str | None
    last_delivered_at: Time
    last_worker: str | None
    dead_at: Time
    record: Record | None = None
    event: Event | None = None


class StreamPage(msgspec.Struct):
    """A page of streams."""

    data: list[Stream]
    next: str | None


class ConsumerPage(msgspec.Struct):
    """A page of consumers."""

    data: list[ConsumerObject]
    next: str | None


class MessagePage(msgspec.Struct):
    """A page of messages.

    `scanned`: how many were examined. A search that has not found enough continues from `next`.
    """

    data: list[Message]
    next: str | None
    scanned: int


class MessageAnswer(msgspec.Struct, omit_defaults=True):
    """A message, and its state for each consumer of its stream."""

    id: str
    consumers: list[MessageState]
    record: Record | None = None
    event: Event | None = None


class ScheduledPage(msgspec.Struct):
    """A page of events that wait for their `deliver_at`."""

    data: list[Scheduled]
    next: str | None


class Cancelled(msgspec.Struct):
    """The event that will not be delivered."""

    id: str
    cancelled: bool = True


class RetryingPage(msgspec.Struct):
    """A page of messages that wait to be redelivered."""

    data: list[Retrying]
    next: str | None


class Released(msgspec.Struct):
    """How many deliveries were released."""

    released: int


class PendingPage(msgspec.Struct):
    """A page of pending deliveries."""

    data: list[PendingDelivery]
    next: str | None


class PeekAnswer(msgspec.Struct):
    """The next messages."""

    data: list[PeekedObject]


class DeadLetterPage(msgspec.Struct):
    """A page of dead letters."""

    data: list[DeadLetterObject]
    next: str | None


class CreatedToken(msgspec.Struct):
    """A new access token. Only this answer shows its text."""

    name: str
    scopes: list[str]
    token: str
    created_at: Time
    expires_at: Time | None


class TokenList(msgspec.Struct):
    """The access tokens, without their texts."""

    data: list[AccessToken]


class AuditPage(msgspec.Struct):
    """Changes by operators, newest first."""

    data: list[AuditEntry]
    next: str | None


class AccessObject(msgspec.Struct):
    """The name and scopes of the caller's token. `open`: the server needs no token."""

    name: str
    scopes: list[str]
    open: bool


class Deleted(msgspec.Struct):
    """The name that was deleted."""

    id: str
    deleted: bool = True


class Health(msgspec.Struct, omit_defaults=True):
    """`ok`, or `unavailable` and why. `publishing` is false, with the reason, if only messages are refused."""

    status: str
    reason: str | None = None
    publishing: bool = True
