"""The load of a round: publishers, workers of every kind, and an operator who pauses, resets and redrives."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count

from tests.fault.history.operations import Delivery, Fetch, Message, Outcome, Rules
from tests.fault.history.recorder import Recorder

KEYS = ("k1", "k2", "k3", None)
RECORDS = 12
PATIENCE_S = 0.5  # of one who looks
LATEST_S = 0.6  # delayed events are due by then
PROVIDERS = ("a", "b")
# What a worker does with a delivery, and in how many of a hundred. `drop`: nothing. `late`: an ack after its ack wait.
FATES = {"ack": 70, "retry": 8, "release": 4, "reject": 3, "extend": 7, "drop": 5, "late": 3}


@dataclass
class Load:
    """Who disturbs whom: clients over a recorder, until `over` is set."""

    recorder: Recorder
    random: random.Random
    streams: dict[str, str]  # name to kind
    consumers: Sequence[Rules]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    old: dict[str, deque[str]] = field(default_factory=dict)  # tokens that were used, by consumer

    def clients(self, workers: int) -> list[Coroutine[None, None, None]]:
        """All of them, with so many workers a consumer."""
        running: list[Coroutine[None, None, None]] = []
        for stream, kind in self.streams.items():
            running.append(self._publisher(stream, kind))
        plain = {rules.stream for rules in self.consumers if rules.plain}
        running += [self._adder(stream) for stream in sorted(plain)]
        for rules in self.consumers:
            running += [self._worker(rules) for _ in range(workers)]
            if rules.plain:
                running.append(self._plain_worker(rules))
        running += [self._operator(rules) for rules in self.consumers if rules.resets or rules.pauses or rules.max_deliver > 0]
        return [*running, *(self._onlooker(lane) for lane in self.recorder.apis)]

    def lane(self) -> str:
        """Any but the plain one."""
        return self.random.choice([*self.recorder.apis])

    async def pause(self, seconds: float) -> None:
        """Sleep a while, in a random rhythm."""
        await asyncio.sleep(seconds * self.random.uniform(0.2, 1.8))

    async def _publisher(self, stream: str, kind: str) -> None:
        plain = any(rules.plain for rules in self.consumers if rules.stream == stream)
        recent: deque[Message] = deque(maxlen=20)

        def make() -> Message:
            return self._record() if kind == "records" else self._event(plain)

        while not self.over.is_set():
            if recent and self.random.random() < 0.15:
                messages = [self.random.choice(recent)]  # a duplicate, unchanged or stale
            else:
                messages = [*{m.id: m for m in (make() for _ in range(self.random.randint(1, 5)))}.values()]
            # An event is published again until it is known to be there. A record may be overtaken by its next version.
            for attempts in range(50):
                op = await self.recorder.publish(self.lane(), stream, kind, messages)
                if op.ok or kind == "records" or (attempts > 2 and self.random.random() < 0.1):
                    break
                await self.pause(0.05)
            recent.extend(m for m in messages if op.ok and (kind == "events" or m.n % 3 == 0))
            await self.pause(0.02 if op.ok else 0.1)

    def _event(self, scheduled: bool) -> Message:
        """Of a stream with schedules the read that follows is no way, so the other stream has none."""
        n, chance = next(self.numbers), self.random.random() if scheduled else 1.0
        soon = round(time.time() + self.random.uniform(0.1, LATEST_S), 3) if chance < 0.04 else None
        return Message(
            n=n, id=f"e{n}", provider=self.random.choice(PROVIDERS), key=self.random.choice(KEYS), deliver_at=soon,
            ttl=self.random.choice((0.05, 1.0)) if 0.02 < chance < 0.06 else None,
        )  # fmt: skip

    def _record(self) -> Message:
        """No two have one time, so what was replaced never comes back."""
        n = next(self.numbers)
        older = self.random.random() < 0.1
        return Message(
            n=n, id=f"r{self.random.randrange(RECORDS)}", provider=PROVIDERS[0], deleted=self.random.random() < 0.1,
            updated_at=2 * n - 101 if older and n > 100 else 2 * n,
        )  # fmt: skip

    async def _adder(self, stream: str) -> None:
        while not self.over.is_set():
            n = next(self.numbers)
            message = Message(n=n, id=f"e{n}", provider=self.random.choice(PROVIDERS), key=self.random.choice(KEYS))
            op = await self.recorder.add(stream, message)
            await self.pause(0.05 if op.ok else 0.2)

    async def _worker(self, rules: Rules) -> None:
        old = self.old.setdefault(rules.name, deque(maxlen=60))
        unsettled: list[str] = []
        while not self.over.is_set():
            op = await self._fetch(rules, unsettled)
            unsettled = []
            fates: dict[str, list[str]] = {}
            for delivery in op.deliveries:
                old.append(delivery.token)
                fates.setdefault(self._fate(rules, delivery), []).append(delivery.token)
            if self.random.random() < 0.2:
                await self._misuse(rules, op.deliveries)
            if self.random.random() < 0.3:  # these go with the next fetch
                unsettled = fates.pop("ack", [])
            for how, tokens in fates.items():
                await self._settle(rules, how, tokens)
            await self.pause(0.005 if op.deliveries else 0.03 if op.ok else 0.1)

    def _fate(self, rules: Rules, delivery: Delivery) -> str:
        if is_poison(rules, delivery):
            return self.random.choice(("retry", "retry", "drop"))
        return self.random.choices([*FATES], [*FATES.values()])[0]

    async def _fetch(self, rules: Rules, acks: list[str]) -> Fetch:
        lane, batch = self.lane(), self.random.choice((1, 2, 5, 10))
        if acks:
            return await self.recorder.settle_and_fetch(lane, rules, batch, acks)
        wait = self.random.choice((0.0, 0.0, 0.2, 1.0))
        goes = wait and lane.startswith("http") and self.random.random() < 0.1
        return await self.recorder.fetch(lane, rules, batch, wait, self.random.uniform(0.0, 0.3) if goes else None)

    async def _settle(self, rules: Rules, how: str, tokens: list[str]) -> None:
        if how == "drop":
            return
        if how == "late":
            await asyncio.sleep(rules.ack_wait * self.random.uniform(0.9, 1.3))
            how = "ack"
        if how == "extend":
            await asyncio.sleep(rules.ack_wait * self.random.uniform(0.3, 0.8))
        delay = self.random.choice((None, 0.0, 0.3)) if how == "retry" else None
        op = await self.recorder.settle(self.lane(), rules, how, tokens, delay)
        if op.outcome is not Outcome.OK and self.random.random() < 0.7:
            await self.recorder.settle(self.lane(), rules, how, tokens, delay)  # repeating a call is safe
        if how == "extend":
            await asyncio.sleep(rules.ack_wait * self.random.uniform(0.3, 0.8))
            await self.recorder.settle(self.lane(), rules, "ack", tokens)

    async def _misuse(self, rules: Rules, deliveries: Sequence[Delivery]) -> None:
        """Used tokens, and tokens of another consumer, preferably of messages that are out here too."""
        other = self.random.choice([c for c in self.consumers if c.stream == rules.stream and c is not rules])
        mine, foreign = [*self.old.get(rules.name, ())], [*self.old.get(other.name, ())]
        out = {d.token.rpartition(".")[0] for d in deliveries}
        same = [token for token in foreign if token.rpartition(".")[0] in out]
        if tokens := same or mine + foreign:
            how = "ack" if same else self.random.choice(("ack", "retry", "release", "extend"))
            await self.recorder.settle(self.lane(), rules, how, self.random.sample(tokens, min(3, len(tokens))))

    async def _plain_worker(self, rules: Rules) -> None:
        while not self.over.is_set():
            op = await self.recorder.read(rules, self.random.randint(1, 5))
            ids = [d.id for d in op.deliveries if self.random.random() < 0.95]
            if ids and not (await self.recorder.xack(rules, ids)).ok:
                await self.recorder.xack(rules, ids)
            await self.pause(0.03 if op.ok else 0.1)

    async def _onlooker(self, lane: str) -> None:
        """Looks at counts, all the time by one lane: from this it shows when a lane is back."""
        while not self.over.is_set():
            await self.recorder.look(lane, self.random.choice(self.consumers), PATIENCE_S)
            await self.pause(0.05)

    async def _operator(self, rules: Rules) -> None:
        """Resets, pauses and resumes, redrives."""
        while not self.over.is_set():
            await self.pause(0.5)
            if rules.resets:
                await self.recorder.control(self.lane(), rules, "reset")
            if rules.max_deliver > 0:
                await self.recorder.control(self.lane(), rules, "redrive")
            if rules.pauses:
                await self.recorder.control(self.lane(), rules, "pause")
                await self.pause(0.2)
                await self.resume(rules)

    async def resume(self, rules: Rules) -> None:
        """Until it is so."""
        while not (await self.recorder.control(self.lane(), rules, "resume")).ok:
            await self.pause(0.1)


async def drain(load: Load, rules: Rules, seconds: float) -> bool:
    """Ack all that a consumer has but for poison, until nothing is left. Whether that came about in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        op = await load.recorder.fetch(load.lane(), rules, 100)
        if op.deliveries:
            poison = [d.token for d in op.deliveries if is_poison(rules, d)]
            others = [d.token for d in op.deliveries if not is_poison(rules, d)]
            if others:
                await load.recorder.settle(load.lane(), rules, "ack", others)
            if poison:
                await load.recorder.settle(load.lane(), rules, "retry", poison, 0.0)
            continue
        look = await load.recorder.look(load.lane(), rules)
        if look.ok and op.ok and not look.num_pending and not look.num_ack_pending:
            return True
        if rules.pauses:  # a pause whose answer was lost may come late
            await load.resume(rules)
        await load.pause(0.05)
    return False


def is_poison(rules: Rules, delivery: Delivery) -> bool:
    """Whether no worker can process a message: where there is a max_deliver, it dies."""
    return rules.max_deliver > 0 and delivery.n % 5 == 0
