"""Fields of a consumer: as requested, as stored, and as the API shows them (C18)."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from broker.commands.replies import ConsumerInfoHead
from broker.consumers.filters import Filters
from broker.errors import ValidationFailed
from broker.messages import times
from broker.messages.names import Name
from broker.messages.validation import metadata_json, nulls_are_absent

AckWait = Annotated[int, msgspec.Meta(ge=500, le=43_200_000)]
MaxDeliver = Annotated[int, msgspec.Meta(ge=-1, le=1000)]
MaxAckPending = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
MaxWaiting = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Delay = Annotated[int, msgspec.Meta(ge=0, le=604_800_000)]
Backoff = Annotated[list[Delay], msgspec.Meta(max_length=1000)]
Ordering = Literal["none", "key"]
_WINDOW_UNITS = "s|m|h|d"


class ConsumerSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The input of creating a consumer. `ack_wait` is an alias of `ack_wait_ms`. A missing name is generated.

    Null means absent.
    """

    name: Name | None = None
    stream_id: str | None = "records"
    ack_wait_ms: AckWait | None = None
    ack_wait: AckWait | None = None
    max_deliver: MaxDeliver | None = -1
    max_ack_pending: MaxAckPending | None = 1000
    max_waiting: MaxWaiting | None = 512
    deliver_policy: str | None = "all"
    filters: Filters | None = Filters()
    ordering: Ordering | None = "none"
    backoff_ms: Backoff | None = []
    metadata: dict[str, Any] | None = {}

    def __post_init__(self) -> None:
        nulls_are_absent(self)


class ConsumerChanges(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to a consumer.

    Fixed fields may be given with their current value. Null changes nothing.
    """

    name: str | UnsetType | None = UNSET
    stream_id: str | UnsetType | None = UNSET
    deliver_policy: str | UnsetType | None = UNSET
    filters: Filters | UnsetType | None = UNSET
    ordering: Ordering | UnsetType | None = UNSET
    ack_wait_ms: AckWait | UnsetType | None = UNSET
    ack_wait: AckWait | UnsetType | None = UNSET
    max_deliver: MaxDeliver | UnsetType | None = UNSET
    max_ack_pending: MaxAckPending | UnsetType | None = UNSET
    max_waiting: MaxWaiting | UnsetType | None = UNSET
    backoff_ms: Backoff | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        nulls_are_absent(self)


IdleBecause = Literal["empty", "paused", "max_ack_pending", "keys", "retries", "start"]


class ConsumerInfo(msgspec.Struct, frozen=True):
    """Counts, exact at the moment of the call (C28, C56).

    `num_redelivered`: pending deliveries that are not the first of their message. Of `num_pending`, `num_retrying`
    were delivered before and `num_blocked` wait for their key. `oldest_pending_at`: when the oldest waiting message was
    appended. `oldest_ack_pending_at`: when the oldest pending delivery was made. `idle_because`: why `next` returns
    nothing; None if it returns a message.
    """

    num_pending: int
    num_ack_pending: int
    num_dead: int
    num_redelivered: int
    num_retrying: int
    num_blocked: int
    oldest_pending_at: str | None
    oldest_ack_pending_at: str | None
    idle_because: IdleBecause | None


class Consumer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A consumer as the API shows it; `paused` and `paused_until` only while it is paused.

    `paused_until` None: until it is resumed.
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
    backoff_ms: list[int]
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    info: ConsumerInfo
    paused: bool = False
    paused_until: str | None = None


def start_of(deliver_policy: str) -> str:
    """A deliver policy for the scripts: all, new, last, ago:ms or at:ms. ValidationFailed: it is invalid."""
    if deliver_policy in ("all", "new", "last"):
        return deliver_policy
    try:
        if re.fullmatch(r"[0-9]+[a-z]+", deliver_policy):
            return f"ago:{times.duration_ms(deliver_policy, _WINDOW_UNITS)}"
        return f"at:{max(0, -(-times.microseconds(deliver_policy) // 1000))}"
    except (ValueError, OverflowError) as exc:
        reason = "must be all, new, last, a window such as 90s, 15m, 1h or 7d, or an RFC 3339 time"
        raise ValidationFailed({"deliver_policy": [reason]}) from exc


def info_of(head: ConsumerInfoHead) -> ConsumerInfo:
    """The counts of a script's reply."""
    idle: Any = head.idle.decode() or None
    if idle == "new":  # all of them may be blocked
        idle = "keys" if head.num_blocked >= head.num_new else None
    return ConsumerInfo(
        head.num_pending, head.num_ack_pending, head.num_dead, head.num_redelivered, head.num_retrying, head.num_blocked,
        _time(head.oldest_pending), _time(head.oldest_ack_pending), idle,
    )  # fmt: skip


def _time(ms: int) -> str | None:
    return None if ms < 0 else times.rfc3339(ms)


def stored(source: ConsumerSpec | ConsumerChanges, *names: str) -> dict[str, str]:
    """The named fields as the scripts store them. ValidationFailed: a value is out of range."""
    fields = {}
    for name in names:
        value = getattr(source, name)
        if name == "metadata":
            fields[name] = metadata_json(value)
        elif name == "filters":
            fields[name] = value.as_given()
        elif name == "backoff_ms":
            fields[name] = ",".join(map(str, value))
        elif name == "max_deliver" and value == 0:
            raise ValidationFailed({name: ["must be -1 or 1 to 1000"]})
        else:
            fields[name] = str(value)
    return fields


def ack_wait_of(ack_wait_ms: int | None, alias: int | None) -> int | None:
    """The ack wait in ms, by name or alias. ValidationFailed: both are given and differ."""
    if alias is not None and ack_wait_ms not in (None, alias):
        raise ValidationFailed({"ack_wait": ["differs from ack_wait_ms, whose alias it is"]})
    return alias if ack_wait_ms is None else ack_wait_ms
