"""The broker as a small Python model: what the state machine holds every answer against.

stream_model.py says how times and ids are meant.
"""

from dataclasses import dataclass

from tests.property.consumer_state import ConsumerState, Dead, Delivered, Out, Retry
from tests.property.stream_model import order


@dataclass
class ConsumerModel(ConsumerState):
    """A consumer: what is delivered and settled, and what is seen of it."""

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
                delivered = at if message_id in self.delivered or not self.noticed_at else Delivered(at.wall, -1)
                self.out[message_id] = Out(None, count, delivered, now + self.backoff(count), now, last.reason)
                given.append((message_id, count))
            if not dropped:
                break
        given.sort(key=lambda row: order(row[0]))  # what got the place of a dropped row may be an earlier message
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


@dataclass
class Redrive:
    """A redrive by filter that is under way: its letters, those that it has not reached, and where it goes on."""

    model: ConsumerModel
    collection_id: str
    reason: str
    last_death: int
    ahead: list[str]
    position: bytes = b""
    until: bytes = b""

    def step(self, limit: float) -> tuple[int, int]:
        """What it puts back, at most `limit` of what was dead when it began, and what it passes over."""
        found = gone = 0
        while self.ahead and found < limit:
            message_id = self.ahead.pop(0)
            letter = self.model.dead.get(message_id)
            if letter is None or letter.number > self.last_death or not self.wants(message_id, letter):
                continue
            if message_id in self.model.stream.log:
                self.model.redrive(message_id)
                found += 1
            else:
                gone += 1
        return found, gone

    def wants(self, message_id: str, letter: Dead) -> bool:
        """Whether it is one of those."""
        return self.reason in ("", letter.reason) and self.collection_id in ("", letter.collection_id)
