"""The form of a history: operations with invocation, completion and outcome, and what the broker holds in the end.

All times are seconds of the clock that Redis reads too: this machine's `time.time()`. An operation took effect at one
moment between `began` and `ended` where its outcome is OK, at no moment where it is FAIL, and where it is UNKNOWN at
one moment after `began`, possibly long after `ended`, or never.
"""

from enum import StrEnum
from pathlib import Path

import msgspec


class Outcome(StrEnum):
    """What the caller knows."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer was created with. Durations in seconds."""

    name: str
    stream: str
    ack_wait: float
    max_deliver: int = -1
    max_ack_pending: int = 1000
    backoff: list[float] = []
    keyed: bool = False
    provider: str = ""  # the filter; empty: none
    plain: bool = False  # plain clients take part
    resets: bool = False  # it is reset now and then
    pauses: bool = False  # it is paused now and then

    def backoff_after(self, count: int) -> float:
        """The delay before the redelivery that follows a delivery with this deliver count."""
        return self.backoff[min(count, len(self.backoff)) - 1] if self.backoff and count > 0 else 0.0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What was published. `n` stands in its data, and no other message has it."""

    n: int
    id: str
    provider: str
    key: str | None = None
    deliver_at: float | None = None
    ttl: float | None = None
    updated_at: int | None = None  # records: upstream_updated_at
    deleted: bool = False


class Row(msgspec.Struct, frozen=True):
    """The answer for one message."""

    message_id: str | None
    status: str


class Delivery(msgspec.Struct, frozen=True):
    """One delivery. `token` is empty for a plain client's; `key` is what per-key order goes by."""

    token: str
    id: str
    count: int
    n: int
    key: str | None
    idx: int

    @property
    def number(self) -> int:
        """How often the message was delivered, whether it counts or not."""
        return int(self.token.split(".")[1]) if self.token else 1

    @property
    def epoch(self) -> str:
        """The life of the consumer."""
        return self.token.rpartition(".")[2]


class Operation(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What one client did. `lane` is the way: http-0, http-1, functions, plain."""

    lane: str
    began: float
    ended: float
    outcome: Outcome
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def maybe(self) -> bool:
        """Whether it may have taken effect."""
        return self.outcome is not Outcome.FAIL


class Publish(Operation, frozen=True, kw_only=True):
    stream: str
    messages: list[Message]
    rows: list[Row] = []


class Fetch(Operation, frozen=True, kw_only=True):
    """`next`, or an XREADGROUP."""

    consumer: str
    batch: int
    deliveries: list[Delivery] = []
    num_pending: int | None = None
    num_ack_pending: int | None = None


class Settle(Operation, frozen=True, kw_only=True):
    """ack, retry, release, reject or extend. `stale`: the tokens that the answer lists as such."""

    consumer: str
    how: str
    tokens: list[str]
    stale: list[str] = []
    delay: float | None = None


class PlainAck(Operation, frozen=True, kw_only=True):
    consumer: str
    ids: list[str]
    acked: int = 0


class Control(Operation, frozen=True, kw_only=True):
    """pause, resume, reset or redrive."""

    consumer: str
    what: str


class Look(Operation, frozen=True, kw_only=True):
    """The counts of a consumer."""

    consumer: str
    num_pending: int = 0
    num_ack_pending: int = 0
    num_dead: int = 0
    num_redelivered: int = 0


Noted = Publish | Fetch | Settle | PlainAck | Control | Look


class Held(msgspec.Struct, frozen=True):
    """An entry of a stream. `id` is the record's or the event's."""

    message_id: str
    id: str
    n: int
    idx: int


class Letter(msgspec.Struct, frozen=True):
    """A dead letter."""

    message_id: str
    count: int
    reason: str


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """What is there after all faults are over and all consumers are drained."""

    held: dict[str, list[Held]] = {}
    letters: dict[str, list[Letter]] = {}
    counts: dict[str, Look] = {}
    records: dict[str, int] = {}  # record id to the n of its current version, by GET of each


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One round."""

    consumers: list[Rules]
    operations: list[Noted]
    rest: Rest

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_bytes(msgspec.json.encode(self))

    @staticmethod
    def load(path: Path) -> "History":
        """Read what `save` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=History)
