"""The broker as a small Python model: what the state machine holds every answer against.

Time is in ms and moves only when the machine moves it. Ids are Redis entry ids, compared as numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field


def order(message_id: str) -> tuple[int, int]:
    """Stream order."""
    ms, _, seq = message_id.partition("-")
    return int(ms), int(seq)


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
class StreamModel:
    """A stream: what it holds, in order."""

    kind: str
    max_messages: int | None = None
    dedupe_window_ms: int = 0
    log: dict[str, Message] = field(default_factory=dict)
    consumers: list["ConsumerModel"] = field(default_factory=list)
    remembered: dict[str, tuple[str, int]] = field(default_factory=dict)
    lapsed: set[str] = field(default_factory=set)

    def current(self, key: str) -> Message | None:
        """The record of this key."""
        return next((m for m in self.log.values() if m.key == key), None)

    def append(self, message: Message) -> None:
        """A message was appended."""
        self.log[message.id] = message
        for consumer in self.consumers:
            if consumer.matches(message):
                consumer.new.append(message.id)
        while self.max_messages is not None and len(self.log) > self.max_messages:
            self.remove(next(iter(self.log)))

    def lapse(self, now: int) -> None:
        """Times to live are over: what was never delivered is not delivered any more."""
        for message in self.log.values():
            if message.lapses_at <= now and message.id not in self.lapsed:
                self.lapsed.add(message.id)
                for consumer in self.consumers:
                    if message.id not in consumer.delivered:
                        consumer.drop(message.id)

    def remove(self, message_id: str) -> None:
        """A message left the stream: nobody waits for it any more; where it is out it stays out."""
        del self.log[message_id]
        for consumer in self.consumers:
            consumer.drop(message_id)


@dataclass
class Out:
    """A delivery that is out. `token` is None for a plain client's."""

    token: str | None
    count: int
    at: int


@dataclass
class ConsumerModel:
    """A consumer's delivery state."""

    name: str
    stream: StreamModel = field(repr=False)
    matches: Callable[[Message], bool] = field(repr=False)
    filtered: bool
    ack_wait_ms: int
    max_deliver: int
    max_ack_pending: int
    backoff_ms: list[int]
    keyed: bool = False
    paused: bool = False
    new: list[str] = field(default_factory=list)
    out: dict[str, Out] = field(default_factory=dict)
    retry: dict[str, tuple[int, int]] = field(default_factory=dict)  # id -> (due, deliveries so far)
    dead: dict[str, tuple[str, int]] = field(default_factory=dict)  # id -> (reason, deliveries)

    busy: dict[str, str] = field(default_factory=dict)  # key -> the message that holds it
    held: dict[str, str] = field(default_factory=dict)
    parked: list[str] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)  # at least once

    def drop(self, message_id: str) -> None:
        """The message is waited for no more."""
        if message_id in self.new:
            self.new.remove(message_id)
        if message_id in self.parked:
            self.parked.remove(message_id)
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
            self.retry.setdefault(waiting[0], (0, 0))

    def hold(self, key: str, message_id: str) -> None:
        """The message is out or waits for a retry; others of its key wait for it."""
        if self.keyed and key:
            self.busy[key], self.held[message_id] = message_id, key

    def forget(self) -> None:
        """Reset to deliver_policy all."""
        for state in (self.out, self.retry, self.dead, self.busy, self.held, self.parked, self.delivered):
            state.clear()
        self.start()

    def start(self) -> None:
        """deliver_policy all."""
        self.new = [m.id for m in self.stream.log.values() if self.matches(m) and m.id not in self.stream.lapsed]

    def backoff(self, count: int) -> int:
        """The delay before the redelivery behind delivery number `count`; nothing delays a death."""
        if self.exhausted(count):
            return 0
        return self.backoff_ms[min(count, len(self.backoff_ms)) - 1] if self.backoff_ms else 0

    def exhausted(self, count: int) -> bool:
        """max_deliver is used up."""
        return self.max_deliver > 0 and count >= self.max_deliver

    def _expired(self, now: int) -> list[str]:
        over = [i for i, o in self.out.items() if now - o.at >= self.ack_wait_ms + self.backoff(o.count)]
        return sorted(over, key=order)

    def bury_expired(self, now: int) -> None:
        """Exhausted deliveries that expired are dead; those of messages that left the stream are dropped."""
        for message_id in self._expired(now):
            count = self.out[message_id].count
            if self.exhausted(count):
                self._bury(message_id, count)

    def _bury(self, message_id: str, count: int) -> None:
        self.die(message_id, count, "max_deliver")

    def die(self, message_id: str, count: int, reason: str) -> None:
        """It becomes a dead letter, or is dropped where it left the stream."""
        del self.out[message_id]
        if message_id in self.stream.log:
            self.dead[message_id] = (reason, count)
        self.free(message_id)

    def next(self, batch: int, now: int) -> list[tuple[str, int]]:
        """The ids and deliver counts that a `next` must give; they are out from now on, their tokens unknown yet."""
        given: list[tuple[str, int]] = []
        if self.paused:
            return given
        while True:
            self.bury_expired(now)
            wanted = batch - len(given)
            places = min(wanted, self.max_ack_pending - len(self.out))
            due = sorted((i for i, (at, _) in self.retry.items() if at <= now), key=order)[: max(0, places)]
            fresh = {i for i, _ in given}
            expired = [i for i in self._expired(now) if i not in fresh][:wanted]
            again = sorted([*expired, *due], key=order)[:wanted]
            dropped = 0
            for message_id in again:
                count = self.retry.pop(message_id)[1] + 1 if message_id in self.retry else self.out[message_id].count + 1
                if message_id not in self.stream.log:
                    self.out.pop(message_id, None)
                    self.free(message_id)
                    dropped += 1
                    continue
                self.out[message_id] = Out(None, count, now)
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
            self.out[message_id] = Out(None, 1, now)
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

    def nack(self, message_id: str, delay_ms: int | None, outcome: str, now: int) -> None:
        """A live delivery was nacked."""
        count = self.out[message_id].count
        if outcome == "reject":
            self.die(message_id, count, "rejected")
        elif outcome == "retry" and self.exhausted(count):
            self._bury(message_id, count)
        else:
            del self.out[message_id]
            if message_id not in self.stream.log:
                self.free(message_id)
                return
            default = self.backoff(count) if outcome == "retry" else 0
            self.retry[message_id] = (now + (default if delay_ms is None else delay_ms), count - (outcome == "release"))

    def redrive(self, message_id: str) -> None:
        """A dead letter is put back, its count anew."""
        del self.dead[message_id]
        key = self.stream.log[message_id].key
        if self.keyed and key in self.busy:
            self.parked.append(message_id)
            return
        self.retry[message_id] = (0, 0)
        self.hold(key, message_id)

    def counts(self) -> tuple[int, int]:
        """num_pending and num_ack_pending."""
        return len(self.new) + len(self.retry) + len(self.parked), len(self.out)

    def peek(self, limit: int, now: int) -> list[tuple[str, int]]:
        """What a `next` without a bound on what is out would give."""
        again = {i: self.out[i].count for i in self._expired(now)} | {i: n for i, (at, n) in self.retry.items() if at <= now}
        shown = [(i, again[i] + 1) for i in sorted(again, key=order)[:limit] if i in self.stream.log]
        seen = set(self.busy)
        for message_id in self.new:
            key = self.stream.log[message_id].key
            if len(shown) < limit and not (self.keyed and key in seen):
                shown.append((message_id, 1))
                seen |= {key} - {""}
        return shown
