"""The broker as a small Python model: what the state machine holds every answer against.

Times are in ms. `wall` is Redis' clock, which the machine alone moves, forward and back. What waits for a time span goes by
the time of its stream, which never goes back (StreamModel.open). Ids are Redis entry ids, compared as numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field


def order(message_id: str) -> tuple[int, int]:
    """Stream order."""
    ms, _, seq = message_id.partition("-")
    return int(ms), int(seq)


def _before(at: tuple[int, int]) -> tuple[int, int]:
    """The greatest id before this one."""
    ms, seq = at
    return (ms, seq - 1) if seq else (ms - 1, 1 << 64) if ms else (0, 0)


@dataclass
class Message:
    """What lies in a stream."""

    id: str
    key: str
    collection_id: str
    data: int
    deleted: bool = False
    lapses_at: float = math.inf


@dataclass
class Delayed:
    """An event that is not yet in the log: when it is due by the machine's clock, and in ms since the epoch."""

    due: int
    due_ms: int
    event: Message
    ttl: float


@dataclass
class StreamModel:
    """A stream: what it holds, in order."""

    kind: str
    max_messages: int | None = None
    dedupe_window_ms: int = 0
    log: dict[str, Message] = field(default_factory=dict)
    consumers: list["ConsumerModel"] = field(default_factory=list)
    remembered: dict[str, tuple[str, int]] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)
    delayed: list[Delayed] = field(default_factory=list)
    last_id: str = "0-0"
    now: int = 0
    lead: int = 0
    steps: int = 0

    def open(self, wall: int) -> int:
        """A call looks at the clock: the stream's time goes on from where it was last seen."""
        if wall + self.lead < self.now:
            self.lead, self.steps = self.now - wall, self.steps + 1
        self.now = wall + self.lead
        return self.now

    def release(self, wall: int) -> None:
        """A call that publishes or looks appends the delayed events that are due, as of when they were."""
        self.open(wall)
        due = sorted((d for d in self.delayed if d.due <= wall), key=lambda d: (d.due_ms, d.event.data))
        self.delayed = [d for d in self.delayed if d.due > wall]
        for late in due:
            ms, seq = order(self.last_id)
            late.event.id = f"{late.due_ms}-0" if late.due_ms > ms else f"{ms}-{seq + 1}"
            late.event.lapses_at = self.now - (wall - late.due) + late.ttl
            self.append(late.event)

    def look(self, wall: int) -> None:
        """A call brings the stream up to date. Times to live are over: what was never delivered is not delivered any more."""
        self.release(wall)
        for message in self.log.values():
            if message.lapses_at <= self.now and message.id not in self.lapsed:
                self.lapsed.add(message.id)
                for consumer in self.consumers:
                    if message.id not in consumer.delivered:
                        consumer.drop(message.id)

    def current(self, key: str) -> Message | None:
        """The record of this key."""
        return next((m for m in self.log.values() if m.key == key), None)

    def append(self, message: Message) -> None:
        """A message was appended."""
        assert order(message.id) > order(self.last_id)
        self.last_id = message.id
        self.log[message.id] = message
        for consumer in self.consumers:
            if consumer.matches(message) and order(message.id)[0] >= consumer.start_ms:
                consumer.new.append(message.id)
        while self.max_messages is not None and len(self.log) > self.max_messages:
            self.remove(next(iter(self.log)))

    def remove(self, message_id: str) -> None:
        """A message left the stream: nobody waits for it any more; where it is out it stays out."""
        del self.log[message_id]
        for consumer in self.consumers:
            consumer.drop(message_id)


@dataclass
class Delivered:
    """When and how a message was delivered last: by Redis' clock, by how many steps back of it there had been."""

    wall: int
    backs: int


@dataclass
class Out:
    """A delivery that is out. `token` is None for a plain client's.

    `began`: when its ack wait began, and the delay before a redelivery added. None: a first delivery, of which Redis alone knows how
    long it is out. It forgets that in a step back: then it is out since the step was noticed, at `noticed`.
    """

    token: str | None
    count: int
    at: Delivered
    began: int | None
    since: int  # by the stream's time
    reason: str = ""
    over: bool = False
    noticed: int | None = None


@dataclass
class Retry:
    """A message that waits to be delivered again: when it is due (0 = now), and how many deliveries there were."""

    due: int
    count: int
    at: Delivered | None = None
    reason: str = ""


@dataclass
class Dead:
    """A dead letter, and the number of the death."""

    reason: str
    count: int
    note: str
    at: Delivered | None
    number: int
    collection_id: str


@dataclass
class ConsumerModel:
    """A consumer's delivery state."""

    name: str
    stream: StreamModel = field(repr=False)
    matches: Callable[[Message], bool] = field(repr=False)
    indexed: bool
    ack_wait_ms: int
    max_deliver: int
    max_ack_pending: int
    backoff_ms: list[int]
    keyed: bool = False
    paused: bool = False
    policy: str = "all"
    start_ms: int = 0
    began: tuple[int, int] = (0, 0)  # the id after which it began
    new: list[str] = field(default_factory=list)
    out: dict[str, Out] = field(default_factory=dict)
    retry: dict[str, Retry] = field(default_factory=dict)
    dead: dict[str, Dead] = field(default_factory=dict)

    busy: dict[str, str] = field(default_factory=dict)  # key -> the message that holds it
    held: dict[str, str] = field(default_factory=dict)
    parked: list[str] = field(default_factory=list)
    put_aside: dict[str, Retry] = field(default_factory=dict)  # of redriven messages that are parked
    delivered: set[str] = field(default_factory=set)  # at least once
    steps: int = 0  # of the clock that it has noticed
    noticed_at: int = 0
    deaths: int = 0

    def drop(self, message_id: str) -> None:
        """The message is waited for no more."""
        if message_id in self.new:
            self.new.remove(message_id)
        if message_id in self.parked:
            self.parked.remove(message_id)
            self.put_aside.pop(message_id, None)
        if message_id in self.retry:
            del self.retry[message_id]
            self.free(message_id)

    def free(self, message_id: str) -> None:
        """The message does not hold its key any more: the next of the key may be delivered."""
        key = self.held.pop(message_id, None)
        if key is None:
            return
        del self.busy[key]
        waiting = sorted((i for i in self.parked if self.stream.log[i].key == key), key=order)
        if waiting:
            self.parked.remove(waiting[0])
            self.hold(key, waiting[0])
            self.retry.setdefault(waiting[0], self.put_aside.pop(waiting[0], Retry(0, 0)))

    def hold(self, key: str, message_id: str) -> None:
        """The message is out or waits for a retry; others of its key wait for it."""
        if self.keyed and key:
            self.busy[key], self.held[message_id] = message_id, key

    def start(self, policy: str, start_ms: int | None) -> None:
        """Forget all, and begin by a deliver policy: all, new, last, or with what has come since `start_ms`, which may be to come."""
        for state in (self.out, self.retry, self.dead, self.busy, self.held, self.parked, self.put_aside, self.delivered):
            state.clear()
        self.policy, self.start_ms, self.steps, self.noticed_at = policy, start_ms or 0, self.stream.steps, 0
        held = list(self.stream.log.values())
        last = order(held[-1].id) if held else order(self.stream.last_id)
        if self.indexed:
            held = [m for m in held if self.matches(m) and m.id not in self.stream.lapsed]
        held = {"new": [], "last": held[-1:]}.get(policy, held)
        before_last = _before(order(held[0].id)) if held else (0, 0) if not self.indexed else last
        self.began = {"new": last, "last": before_last}.get(policy, _before((self.start_ms, 0)))
        self.new = [m.id for m in held if m.id not in self.stream.lapsed and order(m.id)[0] >= self.start_ms]

    def backoff(self, count: int) -> int:
        """The delay before the redelivery behind delivery number `count`; nothing delays a death."""
        if self.exhausted(count):
            return 0
        return self.backoff_ms[min(count, len(self.backoff_ms)) - 1] if self.backoff_ms else 0

    def exhausted(self, count: int) -> bool:
        """max_deliver is used up."""
        return self.max_deliver > 0 and count >= self.max_deliver

    # -- what time brings

    def look(self, wall: int) -> None:
        """A call that counts or delivers."""
        self.stream.look(wall)
        self.notice()
        self.expire(wall)
        # C22: nothing is out for longer than its wait and one more since the last step that was noticed.
        for i, out in self.out.items():
            late = self.stream.now - max(out.since, self.noticed_at) >= self.ack_wait_ms + self.backoff(out.count)
            assert not late or out.began is not None or i in self._expired(wall), (i, self)

    def notice(self) -> None:
        """It notices that the clock has stepped back."""
        if self.steps != self.stream.steps:
            self.steps, self.noticed_at = self.stream.steps, self.stream.now
            for out in self.out.values():
                out.noticed = self.stream.now

    def expire(self, wall: int) -> None:
        """What has expired and used up max_deliver is dead; where it left the stream it is dropped."""
        now = self.stream.open(wall)
        for i in sorted(self.out, key=order):
            out = self.out[i]
            out.over = out.over or (out.began is not None and out.began + self.ack_wait_ms <= now)
            if out.over and self.exhausted(out.count):
                self.die(i, "max_deliver", out.reason)
        for i in [i for i, waiting in self.retry.items() if waiting.due <= now and self.exhausted(waiting.count)]:
            waiting = self.retry.pop(i)
            self.bury(i, "max_deliver", waiting.count, waiting.reason, waiting.at)
        if self.exhausted(1):
            for i in self._expired(wall):
                if self.out[i].began is None:
                    self.die(i, "max_deliver", self.out[i].reason)

    def _expired(self, wall: int) -> list[str]:
        over, blocked = [], False
        for i in sorted(self.out, key=order):
            out = self.out[i]
            if out.began is not None:
                over += [i] * out.over
            elif not blocked:  # first deliveries expire in stream order
                idle = max(0, wall - out.at.wall)
                if out.noticed is not None:
                    idle = max(idle, self.stream.now - out.noticed)
                blocked = idle < self.ack_wait_ms + self.backoff(1)
                over += [i] * (not blocked)
                assert blocked or self.stream.now - out.since >= self.ack_wait_ms, "C22: not early"
        return over

    def die(self, message_id: str, reason: str, note: str) -> None:
        """What is out becomes a dead letter."""
        out = self.out.pop(message_id)
        self.bury(message_id, reason, out.count, note, out.at)

    def bury(self, message_id: str, reason: str, count: int, note: str, at: Delivered | None) -> None:
        """It becomes a dead letter, or is dropped where it left the stream."""
        if message_id in self.stream.log:
            self.deaths += 1
            self.dead[message_id] = Dead(reason, count, note, at, self.deaths, self.stream.log[message_id].collection_id)
        self.free(message_id)

    # -- delivery

    def next(self, batch: int, at: Delivered) -> list[tuple[str, int]]:
        """The ids and deliver counts that a `next` must give; they are out from now on, their tokens unknown yet."""
        given: list[tuple[str, int]] = []
        self.expire(at.wall)
        if self.paused:
            return given
        now = self.stream.now
        while True:
            wanted = batch - len(given)
            places = min(wanted, self.max_ack_pending - len(self.out))
            due = sorted((i for i, waiting in self.retry.items() if waiting.due <= now), key=order)[: max(0, places)]
            again = sorted([*self._expired(at.wall)[:wanted], *due], key=order)[:wanted]
            dropped = 0
            for message_id in again:
                last = self.retry.pop(message_id, None) or self.out[message_id]
                if message_id not in self.stream.log:
                    self.out.pop(message_id, None)
                    self.free(message_id)
                    dropped += 1
                    continue
                count = last.count + 1
                # Of a message that was parked when the clock stepped back the engine tells when it noticed that.
                told = at if message_id in self.delivered or not self.noticed_at else Delivered(at.wall, -1)
                self.out[message_id] = Out(None, count, told, now + self.backoff(count), now, last.reason)
                given.append((message_id, count))
            if not dropped:
                break
        places = min(batch - len(given), self.max_ack_pending - len(self.out))
        while self.new and places > 0:
            message_id = self.new.pop(0)
            key = self.stream.log[message_id].key
            if self.keyed and key in self.busy:
                self.parked.append(message_id)
                continue
            self.hold(key, message_id)
            self.out[message_id] = Out(None, 1, at, None, now)
            given.append((message_id, 1))
            places -= 1
        self.delivered |= {i for i, _ in given}
        return given

    def is_live(self, token: str, message_id: str) -> bool:
        """Whether the token names the delivery that is out."""
        return message_id in self.out and self.out[message_id].token == token

    def ack(self, message_id: str) -> None:
        """A live delivery was acked."""
        del self.out[message_id]
        self.free(message_id)

    def nack(self, message_id: str, delay_ms: int | None, outcome: str, reason: str) -> None:
        """A live delivery was nacked."""
        out = self.out[message_id]
        note = reason or out.reason
        out.count -= outcome == "release"
        if outcome == "reject":
            self.die(message_id, "rejected", note)
        elif self.exhausted(out.count):
            self.die(message_id, "max_deliver", note)
        else:
            del self.out[message_id]
            if message_id not in self.stream.log:
                self.free(message_id)
                return
            delay = (self.backoff(out.count) if outcome == "retry" else 0) if delay_ms is None else delay_ms
            due = self.stream.now + delay if delay else 0
            self.retry[message_id] = Retry(due, out.count, out.at, note)

    def extend(self, message_id: str) -> None:
        """The ack wait of a live delivery starts again."""
        out = self.out[message_id]
        out.since = self.stream.now
        out.began, out.over = out.since + self.backoff(out.count), False

    def redrive(self, message_id: str) -> None:
        """A dead letter is put back; its count starts again."""
        letter = self.dead.pop(message_id)
        key = self.stream.log[message_id].key
        if self.keyed and key in self.busy:
            self.parked.append(message_id)
            self.put_aside[message_id] = Retry(0, 0, letter.at, letter.note)
            return
        self.retry[message_id] = Retry(0, 0, letter.at, letter.note)
        self.hold(key, message_id)

    # -- what an operator sees

    def blocked(self) -> list[str]:
        """Messages that wait for their key."""
        return self.parked + [i for i in self.new if self.keyed and self.stream.log[i].key in self.busy]

    def retrying(self) -> list[str]:
        """Messages that were delivered and wait to be delivered again."""
        return [i for i in self.retry if i in self.delivered] + [*self.put_aside]

    def oldest_pending(self) -> int | None:
        """When the oldest message that waits was appended, in ms since the epoch."""
        return min((order(i)[0] for i in (*self.new, *self.retry, *self.parked)), default=None)

    def idle_because(self, wall: int, wall_ms: int) -> str | None:
        """Why a `next` would give nothing."""
        places, blocked = self.max_ack_pending - len(self.out), set(self.blocked())
        due = places > 0 and any(waiting.due <= self.stream.now for waiting in self.retry.values())
        if self.paused:
            return "paused"
        if due or any(i in self.stream.log for i in self._expired(wall)) or (places > 0 and set(self.new) - blocked):
            return None
        if self.start_ms > wall_ms and order(self.stream.last_id)[0] < self.start_ms:
            return "start"
        if places <= 0 and self.counts()[0]:
            return "max_ack_pending"
        return "keys" if blocked else "retries" if self.retry else "empty"

    def state(self, message_id: str) -> str:
        """What a message of the stream is to this consumer."""
        if message_id in self.out:
            return "out"
        if message_id in self.blocked():
            return "blocked"
        if message_id in self.retry:
            return "retrying" if message_id in self.delivered else "new"
        if message_id in self.dead:
            return "dead"
        if not self.matches(self.stream.log[message_id]):
            return "filtered"
        if message_id in self.new:
            return "new"
        return "before_start" if order(message_id) <= self.began else "done"

    def counts(self) -> tuple[int, int]:
        """num_pending and num_ack_pending."""
        return len(self.new) + len(self.retry) + len(self.parked), len(self.out)

    def peek(self, limit: int, wall: int) -> list[tuple[str, int]]:
        """What a `next` without a bound on what is out would give."""
        again = {i: self.out[i].count for i in self._expired(wall)}
        again |= {i: waiting.count for i, waiting in self.retry.items() if waiting.due <= self.stream.now}
        shown = [(i, again[i] + 1) for i in sorted(again, key=order)[:limit] if i in self.stream.log]
        seen = set(self.busy)
        for message_id in self.new:
            key = self.stream.log[message_id].key
            if len(shown) < limit and not (self.keyed and key in seen):
                shown.append((message_id, 1))
                seen |= {key} - {""}
        return shown
