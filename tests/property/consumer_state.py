"""The delivery state of a consumer as a small Python model, and what time does to it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.property.stream_model import Message, StreamModel, order


def _before(at: tuple[int, int]) -> tuple[int, int]:
    """The greatest id before this one."""
    ms, seq = at
    return (ms, seq - 1) if seq else (ms - 1, 1 << 64) if ms else (0, 0)


@dataclass
class Delivered:
    """When and how a message was delivered last: by Redis' clock, by how many steps back of it there had been."""

    wall: int
    backs: int


@dataclass
class Out:
    """A delivery that is out. `token` is None for a plain client's.

    `began`: when its ack wait began, and the delay before a redelivery added. None: a first delivery, of which Redis
    alone knows how long it is out. It forgets that in a step back: then it is out since the step was noticed, at
    `noticed`.
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
class ConsumerState:
    """What waits, is out or is dead, and which keys are held."""

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
        """Forget all, and begin by a deliver policy: all, new, last, or since `start_ms`, which may lie ahead."""
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
        """The delay before the redelivery after delivery number `count`; nothing delays a death."""
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
