"""A history sorted by what it is about: the course of each message at each consumer, and the tries to publish it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fault.history.operations import (
    Control,
    Delivery,
    Fetch,
    History,
    Look,
    Message,
    Operation,
    PlainAck,
    Publish,
    Row,
    Rules,
    Settle,
)

# Redis rounds its clock to ms in several places, each reading a little apart.
SLACK = 0.02


@dataclass(frozen=True)
class Violation:
    """A rule that a history breaks."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass
class Seen:
    """A delivery that a client has seen."""

    fetch: Fetch
    delivery: Delivery

    @property
    def number(self) -> int:
        return self.delivery.number


@dataclass
class Settlement:
    """A token in a call that settles. `sure`: it was settled by this; else it may have been."""

    op: Settle
    number: int
    sure: bool


@dataclass
class Course:
    """What one life of a consumer did with one message."""

    rules: Rules
    message_id: str
    epoch: str
    seen: list[Seen] = field(default_factory=list)
    settled: list[Settlement] = field(default_factory=list)
    extended: list[Settlement] = field(default_factory=list)
    stale: list[Settlement] = field(default_factory=list)  # not settled by this, says the answer
    plain: list[tuple[PlainAck, bool]] = field(default_factory=list)

    def __str__(self) -> str:
        seen = [f"#{s.number} count {s.delivery.count} {_when(s.fetch)}" for s in self.seen]
        ends = [*self.settled, *self.extended, *self.stale]
        done = [f"{end.op.how} #{end.number} {_how(end, self)} {_when(end.op)}" for end in ends]
        done += [f"XACK {op.outcome} {_when(op)}" for op, _ in self.plain]
        return f"{self.rules.name} {self.message_id}: delivered {', '.join(seen) or 'never'}; {', '.join(done)}"

    def ends_of(self, number: int) -> list[Settlement]:
        """What may have settled this delivery."""
        return [s for s in self.settled if s.number == number]

    def expires(self, seen: Seen) -> float:
        """The earliest moment at which the ack wait of a delivery can be over."""
        extended = [s.op.began for s in self.extended if s.sure and s.number == seen.number]
        return max([seen.fetch.began, *extended]) + self.rules.ack_wait

    def expires_by(self, seen: Seen) -> float:
        """The latest one."""
        extended = [s.op.ended if s.sure else math.inf for s in self.extended if s.number == seen.number]
        return max([seen.fetch.ended, *extended]) + self.rules.ack_wait

    def settled_from(self, seen: Seen) -> float:
        """The earliest moment at which a delivery can have been settled by a client."""
        plain = [op.began for op, _ in self.plain]
        return min([s.op.began for s in self.ends_of(seen.number)] + plain, default=math.inf)

    def live_until(self, seen: Seen) -> float:
        """Up to here it is surely out, and hidden from others."""
        return min(self.expires(seen), self.settled_from(seen))

    def acks(self) -> list[Settlement]:
        return [s for s in self.settled if s.op.how == "ack"]

    def may_be_acked(self) -> bool:
        return bool(self.acks() or self.plain)

    def is_acked(self) -> bool:
        return any(s.sure for s in self.acks()) or any(sure for _, sure in self.plain)


def _when(op: Operation) -> str:
    return f"[{op.began:.3f}, {op.ended:.3f}] by {op.lane}"


def _how(end: Settlement, course: Course) -> str:
    return "stale" if end in course.stale else "done" if end.sure else "unknown"


@dataclass
class Published:
    """A message, and every call that published it: the first attempt, and those after an unknown outcome."""

    message: Message
    stream: str
    tries: list[tuple[Publish, Row | None]] = field(default_factory=list)

    @property
    def maybe(self) -> bool:
        """Whether it may be in the stream."""
        return any(op.maybe and (row is None or row.status in STORED) for op, row in self.tries)

    @property
    def sure(self) -> bool:
        """Whether it is, or a later version of the record."""
        return any(row is not None and row.status in STORED for _, row in self.tries)

    @property
    def began(self) -> float:
        """The earliest moment at which it can have been stored."""
        return min((op.began for op, _ in self.tries if op.maybe), default=math.inf)

    @property
    def from_(self) -> float:
        """The earliest moment at which a consumer can have it."""
        return max(self.began, self.message.deliver_at or 0.0)

    @property
    def by(self) -> float:
        """From here on it can surely be delivered."""
        ended = min((op.ended for op, row in self.tries if row is not None and row.status in STORED), default=math.inf)
        return max(ended, self.message.deliver_at or 0.0)


# A duplicate is there by an earlier try of the same message.
STORED = {"created", "updated", "deleted", "duplicate"}


class Courses:
    """A history, sorted."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.rules = {rules.name: rules for rules in history.consumers}
        self.courses: dict[tuple[str, str, str], Course] = {}
        self.published: dict[int, Published] = {}
        self.fetches: dict[str, list[Fetch]] = defaultdict(list)
        self.lost: dict[str, list[Fetch]] = defaultdict(list)  # fetches with an unknown outcome
        self.controls: dict[tuple[str, str], list[Control]] = defaultdict(list)
        self.looks: dict[str, list[Look]] = defaultdict(list)
        self.epochs: dict[str, str] = {}  # of each consumer, that of its last delivery
        self.lives: dict[str, set[str]] = defaultdict(set)
        for op in sorted(history.operations, key=lambda op: op.began):
            if isinstance(op, Publish):
                self._publish(op)
            elif isinstance(op, Fetch):
                self._fetch(op)
            elif isinstance(op, Control):
                self.controls[op.consumer, op.what].append(op)
            elif isinstance(op, Look) and op.ok:
                self.looks[op.consumer].append(op)
        for op in history.operations:
            if isinstance(op, Settle):
                self._settle(op)
            elif isinstance(op, PlainAck) and op.maybe and (op.acked or not op.ok):
                for message_id in op.ids:
                    self.course(op.consumer, "", message_id).plain.append((op, op.acked == len(op.ids)))
        for course in self.courses.values():
            course.seen.sort(key=lambda s: (s.number, s.fetch.began))
        self.versions: dict[tuple[str, str], list[Published]] = defaultdict(list)
        for p in self.published.values():
            self.versions[p.stream, p.message.id].append(p)

    def course(self, consumer: str, epoch: str, message_id: str) -> Course:
        rules = self.rules[consumer]
        key = (consumer, epoch if rules.resets else "", message_id)
        if key not in self.courses:
            self.courses[key] = Course(rules, message_id, key[1])
        return self.courses[key]

    def of(self, consumer: str) -> Iterator[Course]:
        """The courses of a consumer's messages, of all of its lives."""
        return (course for course in self.courses.values() if course.rules.name == consumer)

    def last(self, consumer: str, message_id: str) -> Course:
        """The course of a message in the consumer's last life."""
        return self.course(consumer, self.epochs.get(consumer, ""), message_id)

    def maybe(self, consumer: str, what: str, before: float, after: float = -math.inf) -> bool:
        """Whether a control may have taken effect between two moments."""
        found = self.controls[consumer, what]
        return any(op.maybe and op.began < before and (op.ended > after or not op.ok) for op in found)

    def unseen(self, consumer: str, before: float) -> list[Fetch]:
        """Fetches that may have delivered before a moment what nobody saw."""
        return [fetch for fetch in self.lost[consumer] if fetch.began < before]

    def superseded_from(self, n: int) -> float:
        """The earliest moment at which a newer version of a record can have taken the place of this one."""
        mine = self.published[n]
        if mine.message.key is not None or mine.message.updated_at is None:
            return math.inf
        began = mine.tries[0][0].began
        others = [p for p in self.versions[mine.stream, mine.message.id] if p.maybe and p is not mine]
        if any(p.tries[0][0].began < began and not p.sure for p in others):  # it may come late
            return began
        return min((p.tries[0][0].began for p in others if p.tries[0][0].began >= began), default=math.inf)

    def _publish(self, op: Publish) -> None:
        rows: list[Row | None] = [*op.rows] if op.ok else [None] * len(op.messages)
        for message, row in zip(op.messages, rows, strict=True):
            self.published.setdefault(message.n, Published(message, op.stream)).tries.append((op, row))

    def _fetch(self, op: Fetch) -> None:
        self.fetches[op.consumer].append(op)
        if op.maybe and not op.ok:
            self.lost[op.consumer].append(op)
        for delivery in op.deliveries:
            self.course(op.consumer, delivery.epoch, delivery.id).seen.append(Seen(op, delivery))
            self.epochs[op.consumer] = delivery.epoch or self.epochs.get(op.consumer, "")
            self.lives[op.consumer].add(delivery.epoch)

    def _settle(self, op: Settle) -> None:
        if not op.maybe:
            return
        stale = Counter(op.stale)
        for token, times in Counter(op.tokens).items():
            message_id, number, epoch = token.split(".")
            course = self.course(op.consumer, epoch, message_id)
            if epoch not in self.lives[op.consumer]:  # another consumer's: its course here must stay empty
                course = self.courses.setdefault((op.consumer, f"?{epoch}", message_id), Course(course.rules, message_id, f"?{epoch}"))
            # Of a token that stands in a list twice, the first may be taken and the second be stale.
            taken = not op.ok or times > stale[token]
            end = Settlement(op, int(number), op.ok and taken)
            (course.stale if not taken else course.extended if op.how == "extend" else course.settled).append(end)
