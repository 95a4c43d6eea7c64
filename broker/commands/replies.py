"""Shapes of the scripts' replies.

Each command with a `-- reply` line in `lua/` has a shape here; a test compares them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from broker.errors import StoreFault

Column = Sequence[Any]
H = TypeVar("H", bound=tuple[Any, ...])
R = TypeVar("R", bound=tuple[Any, ...])


class NextHead(NamedTuple):
    """What `next` replies besides the messages.

    `due_in` in ms; `settled`: acked, nacked, positions of stale tokens from 1.
    """

    again: int
    epoch: bytes
    num_pending: int
    num_ack_pending: int
    due_in: int
    max_waiting: int
    seen: bytes
    paused: int
    settled: list[int]


class DeliveryRows(NamedTuple):
    """Messages of `next` and `peek`, as columns. `head` and `body`: lua/shared/entries.lua."""

    id: Column = ()
    number: Column = ()
    deliver_count: Column = ()
    head: Column = ()
    body: Column = ()


Again = NamedTuple("Again", [("again", int)])
Cursor = NamedTuple("Cursor", [("again", int), ("after", bytes)])
Page = NamedTuple("Page", [("after", bytes)])  # the id to continue after, empty at the end
ConsumerInfoHead = NamedTuple(
    "ConsumerInfoHead",
    [
        ("again", int), ("num_pending", int), ("num_ack_pending", int), ("num_dead", int), ("num_redelivered", int), ("paused", int),
        ("num_retrying", int), ("num_blocked", int), ("num_new", int), ("idle", bytes), ("oldest_pending", int),
        ("oldest_ack_pending", int), ("blocked_after", bytes), ("waiting_after", bytes),
    ],
)  # fmt: skip
RetryingRows = NamedTuple(  # due_at in ms
    "RetryingRows",
    [("id", Column), ("deliver_count", Column), ("due_at", Column), ("reason", Column), ("key", Column), ("blocked", Column)],
)
ScheduledRows = NamedTuple("ScheduledRows", [("id", Column), ("collection_id", Column), ("key", Column), ("deliver_at", Column)])
StateRows = NamedTuple(  # -1 or empty if the state has no such value
    "StateRows",
    [
        ("consumer", Column), ("state", Column), ("worker", Column), ("deliver_count", Column), ("delivered_at", Column),
        ("expires_at", Column), ("due_at", Column), ("reason", Column),
    ],
)  # fmt: skip
SummaryHead = NamedTuple("SummaryHead", [("again", int), ("total", int), ("after", bytes), ("until", bytes)])
SummaryRows = NamedTuple("SummaryRows", [("reason", Column), ("last_nack_reason", Column), ("collection_id", Column), ("dead_at", Column)])
Following = NamedTuple("Following", [("messages", Column)])  # one number: how many messages the following read returns
PendingRows = NamedTuple(  # times in ms
    "PendingRows",
    [
        ("id", Column),
        ("deliver_count", Column),
        ("delivered_at", Column),
        ("expires_at", Column),
        ("reason", Column),
        ("worker", Column),
        ("expired", Column),
    ],
)
MessagesHead = NamedTuple("MessagesHead", [("again", int), ("after", bytes), ("until", bytes), ("looked", int), ("bytes", int)])
MessageRows = NamedTuple("MessageRows", [("id", Column), ("head", Column), ("body", Column)])
LettersHead = NamedTuple("LettersHead", [("after", bytes), ("until", bytes)])
LetterRows = NamedTuple(  # numbers and times in ms as text
    "LetterRows",
    [
        ("id", Column), ("deliver_count", Column), ("reason", Column), ("last_nack_reason", Column),
        ("last_delivered_at", Column), ("dead_at", Column), ("head", Column), ("body", Column), ("last_worker", Column),
    ],
)  # fmt: skip
StreamInfoHead = NamedTuple(
    "StreamInfoHead", [("messages", int), ("bytes", int), ("first_id", bytes), ("last_id", bytes), ("consumers", int)]
)
StreamCountsHead = NamedTuple(
    "StreamCountsHead", [("again", int), ("messages", int), ("appended", int), ("looked", int), ("after", bytes), ("now", int)]
)
CountRows = NamedTuple(  # oldest_pending in ms, -1 = none
    "CountRows",
    [
        ("consumer", Column), ("num_pending", Column), ("num_ack_pending", Column), ("num_retrying", Column), ("num_dead", Column),
        ("oldest_pending", Column),
    ],
)  # fmt: skip
FieldRows = NamedTuple("FieldRows", [("name", Column), ("value", Column)])

# The shape of each command's reply: its head, and its rows.
SHAPES: dict[str, tuple[Any, Any]] = {
    "next": (NextHead, DeliveryRows),
    "fast_read": (NextHead, Following),
    "peek": (Again, DeliveryRows),
    "pending": (Page, PendingRows),
    "messages": (MessagesHead, MessageRows),
    "dead_letters": (LettersHead, LetterRows),
    "letters_summary": (SummaryHead, SummaryRows),
    "retrying": (Cursor, RetryingRows),
    "scheduled": (Cursor, ScheduledRows),
    "message": (Again, StateRows),
    "consumer_info": (ConsumerInfoHead, FieldRows),
    "stream_info": (StreamInfoHead, FieldRows),
    "stream_counts": (StreamCountsHead, CountRows),
}


def parse_reply(reply: list[Any], head: type[H], rows: type[R]) -> tuple[H, R]:
    """A reply's head, and its rows as columns. StoreFault: the reply has another shape."""
    width, columns = len(head._fields), len(rows._fields)  # type: ignore[attr-defined]
    if len(reply) < width or (len(reply) - width) % columns:
        raise StoreFault("A script gave an answer that the broker does not understand.")
    return head(*reply[:width]), rows(*(reply[width + i :: columns] for i in range(columns)))
