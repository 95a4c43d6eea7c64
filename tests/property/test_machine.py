"""Random calls of many workers, held against the model: every answer, every count, every token (C12-C44).

The clock steps back as well as forward. A test run makes the same 4,000 steps or so each time, on each server;
BROKER_TEST_STEPS=100000 makes so many on each, and new ones.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker import Broker, ConsumerChanges, ConsumerSpec, Filters, Nack, Store, StreamSpec
from broker.consumers.ack_tokens import parse
from broker.consumers.fields import ConsumerInfo
from broker.messages.times import microseconds, rfc3339
from broker.store.embedded import Embedded
from tests.property.model import ConsumerModel, Dead, Delayed, Delivered, Message, Out, StreamModel, order
from tests.support.clock import advance, shifted_scripts
from tests.support.machines import run_histories

# Steps of time are so long that the test's own time does not count. All that waits waits for so many times 100 s; what is over
# the hundreds in the steps keeps their sums off these, and makes up for what a step back costs: the clock is kept every 10 ms.
ACK_WAIT = 1_000_000
DEDUPE = 2_000_000
STEPS = (1_100, 400_200, 1_100_200)
STEPS_BACK = (300_010, 1_000_010, 1_000_000_010)
BEGINNING = 100_000_000_000  # ahead of the real clock, so that it stays ahead
DELAYS = (None, 0, 700_000)
ACK_WAITS = (500_000, ACK_WAIT, 2_000_000)
# Where a consumer begins: a policy, or so many ms from now.
STARTS = ("all", "all", "all", "new", "last", "400s", "15m", -900_000, -300_000, 300_000, 900_000, 2_000_000)
REASONS = ("", "", "no answer", "bad data")
STREAMS = {
    "records": StreamModel("records"),
    "events": StreamModel("events", dedupe_window_ms=DEDUPE),
    "limited": StreamModel("events", max_messages=6, dedupe_window_ms=0),
}
COLLECTIONS = ("a:x", "a:y", "b:x")
CONSUMERS: dict[str, dict[str, Any]] = {
    "records-all": {"stream_id": "records"},
    "records-a": {"stream_id": "records", "filters": Filters(provider="a"), "max_deliver": 2},
    "events-all": {"stream_id": "events", "max_deliver": 3, "backoff_ms": [200_000, 500_000]},
    "events-x": {"stream_id": "events", "filters": Filters(collection_id=["a:x", "b:*"]), "max_ack_pending": 3},
    "records-keyed": {"stream_id": "records", "ordering": "key", "max_deliver": 3},
    "events-keyed": {"stream_id": "events", "ordering": "key", "max_deliver": 2, "backoff_ms": [200_000]},
    "limited-keyed": {"stream_id": "limited", "ordering": "key", "filters": Filters(collection_id="a:*"), "max_ack_pending": 3},
    "limited-all": {"stream_id": "limited", "max_ack_pending": 4},
    "limited-a": {"stream_id": "limited", "filters": Filters(collection_id="a:*"), "backoff_ms": [300_000]},
}
MATCHES = {
    "records-a": lambda m: m.collection_id.startswith("a:"),
    "events-x": lambda m: m.collection_id in ("a:x", "b:x"),
    "limited-a": lambda m: m.collection_id.startswith("a:"),
    "limited-keyed": lambda m: m.collection_id.startswith("a:"),
}
FATES = ("ack", "nack", "both", "neither", "reject")
OUTCOMES = ("retry", "retry", "release", "reject")
EVENTS = st.tuples(st.sampled_from(COLLECTIONS), st.sampled_from([None, "i", "j"]), st.sampled_from([None, "k", "l"]))
UNFILTERED_EVENTS = ("events-all", "limited-all")


def id_of(token: str) -> str:
    """The id of the message that the token names."""
    parse([token])
    return token.partition(".")[0]


class Eager(dict[str, int]):
    """Remembers no round without `read`, so that it is tried at each."""

    def __setitem__(self, consumer: str, rounds: int) -> None:
        """Not kept."""


@dataclass
class Redrive:
    """A redrive by filter that is under way: which letters, those of them that it has not come by, and where it goes on."""

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


class Machine(RuleBasedStateMachine):
    """Publishers, workers over HTTP-like calls, plain Redis clients, and time."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = BEGINNING  # by Redis' clock, but for what the machine itself takes
        self.began = 0  # when that was 0, in ms since the epoch
        self.backs = 0
        self.version = 0
        self.redriving: Redrive | None = None
        self.names: list[str] = []  # of the consumers that this history has, and their streams
        self.in_use: set[str] = set()
        self.streams: dict[str, StreamModel] = {}
        self.consumers: dict[str, ConsumerModel] = {}
        self.tokens: list[tuple[str, str]] = []  # (consumer, token) of every delivery ever made
        self.seen: set[str] = set()
        self.watched = False

    def run(self, awaitable: Any) -> Any:
        """Wait for a call."""
        return self.runner.run(awaitable)

    @initialize(
        names=st.sets(st.sampled_from(sorted(CONSUMERS)), min_size=1, max_size=4),
        early=st.integers(1, 4),
        eager=st.booleans(),
        work=st.sampled_from([1, 9, 300]),
        watched=st.sampled_from([False, False, True]),
    )
    def begin(self, names: set[str], early: int, eager: bool, work: int, watched: bool) -> None:
        """An empty Redis, a broker with a movable clock, and consumers, some of them from the first message on.

        `watched`: all that may be seen is looked at after every step, which also brings everything up to date.
        """
        self.watched = watched
        self.names = sorted(names)
        self.in_use = {CONSUMERS[name]["stream_id"] for name in names}

        async def open_all() -> None:
            self.store = Store.from_url(self.url)
            await self.store.call("FLUSHALL")
            await advance(self.store, BEGINNING)
            self.began = await self.real_ms()
            self.broker = Broker(Store.from_url(self.url), scripts=shifted_scripts(move_ids=True, work=work))
            if eager:
                self.broker.deliveries._fast_read._rounds = Eager()
            await self.broker.start()
            await self.broker.streams.delete("events")
            for name, model in STREAMS.items():
                limits = {"max_messages": model.max_messages, "dedupe_window_ms": model.dedupe_window_ms} if model.kind == "events" else {}
                await self.broker.streams.create(msgspec.convert({"name": name, "kind": model.kind} | limits, StreamSpec))

        self.run(open_all())
        self.streams = {n: StreamModel(m.kind, m.max_messages, m.dedupe_window_ms) for n, m in STREAMS.items()}
        for name in self.names[:early]:
            self.create_consumer(name, "all")

    async def real_ms(self) -> int:
        """The time of Redis' own clock, which is not moved."""
        seconds, micros = await self.store.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    @property
    def at(self) -> Delivered:
        """A delivery now."""
        return Delivered(self.now, self.backs)

    def is_time_of(self, at: Delivered | None, text: str) -> bool:
        """Whether a time is that of a delivery; a step back of the clock makes Redis forget it."""
        late = microseconds(text) // 1000 - self.began - (at.wall if at else 0)
        return at is None or at.backs != self.backs or -1000 < late < 60_000

    def one(self, data: st.DataObject, *names: str) -> ConsumerModel:
        """A consumer that exists, one of `names` where any are given."""
        return self.consumers[data.draw(st.sampled_from(sorted(n for n in self.consumers if not names or n in names)), label="consumer")]

    def teardown(self) -> None:
        """Close what was opened."""

        async def close_all() -> None:
            await self.broker.close()
            await self.store.close()

        if self.streams:
            self.run(close_all())
        self.runner.close()

    # -- publishing

    @precondition(lambda self: "records" in self.in_use)
    @rule(key=st.sampled_from("pqrst"), collection=st.sampled_from(COLLECTIONS), change=st.booleans(), deleted=st.booleans())
    def publish_record(self, key: str, collection: str, change: bool, deleted: bool) -> None:
        """A new version, or the same one again."""
        stream = self.streams["records"]
        stream.open(self.now)
        current = stream.current(key)
        message: dict[str, Any]
        if current is not None and not change:
            message = {"id": key, "collection_id": current.collection_id, "data": current.data, "deleted": current.deleted}
        else:
            self.version += 1
            message = {"id": key, "collection_id": collection, "data": self.version, "deleted": deleted}
        [result] = self.run(self.broker.publish("records", [message]))
        if current is not None and not change:
            assert (result.status, result.message_id) == ("unchanged", current.id)
            return
        assert result.status == ("created" if current is None else "deleted" if deleted else "updated")
        if current is not None:
            stream.remove(current.id)
        stream.append(Message(result.message_id, key, message["collection_id"], message["data"], message["deleted"]))

    def one_of_events(self, data: st.DataObject) -> str:
        """An event stream in use."""
        return data.draw(st.sampled_from(sorted(self.in_use - {"records"})), label="stream")

    @precondition(lambda self: self.in_use - {"records"})
    @rule(data=st.data(), batch=st.lists(EVENTS, min_size=1, max_size=4))
    def publish_events(self, data: st.DataObject, batch: list[tuple[str, str | None, str | None]]) -> None:
        """Events, some with an id that may be remembered."""
        self.append_events(self.one_of_events(data), batch)

    def append_events(self, name: str, batch: list[tuple[str, str | None, str | None]]) -> None:
        """Publish them: collection, id, key."""
        stream = self.streams[name]
        messages = []
        for collection, event_id, key in batch:
            self.version += 1
            given = {"id": event_id} if event_id and name == "events" else {}
            messages.append({"collection_id": collection, "data": self.version, "key": key} | given)
        results = self.run(self.broker.publish(name, messages))
        stream.release(self.now)
        for message, result in zip(messages, results, strict=True):
            known = stream.remembered.get(str(message.get("id")))
            if known is not None and stream.now - known[1] < stream.dedupe_window_ms:
                assert (result.status, result.message_id) == ("duplicate", known[0])
                continue
            assert result.status == "created"
            if "id" in message:
                stream.remembered[str(message["id"])] = (result.message_id, stream.now)
            stream.append(Message(result.message_id, str(message["key"] or ""), str(message["collection_id"]), int(str(message["data"]))))

    @precondition(lambda self: "events" in self.in_use)
    @rule(
        collection=st.sampled_from(COLLECTIONS),
        key=st.sampled_from(["", "k"]),
        delay=st.sampled_from([0, 300_000, 900_000]),
        ttl=st.sampled_from([None, 200_000, 700_000]),
    )
    def publish_scheduled(self, collection: str, key: str, delay: int, ttl: int | None) -> None:
        """An event that no consumer sees before its time, or that is not delivered for the first time after it."""
        self.version += 1
        message: dict[str, Any] = {"collection_id": collection, "data": self.version, "key": key or None, "ttl_ms": ttl}
        due_ms = self.run(self.real_ms()) + self.now + delay
        if delay:
            message["deliver_at"] = rfc3339(due_ms)
        [result] = self.run(self.broker.publish("events", [message]))
        assert result.status == "created"
        assert (result.message_id is None) == (delay > 0)
        stream = self.streams["events"]
        stream.release(self.now)
        event = Message(result.message_id or "", key, collection, self.version, lapses_at=stream.now + (ttl or math.inf))
        if delay:
            stream.delayed.append(Delayed(self.now + delay, due_ms, event, ttl or math.inf))
        else:
            stream.append(event)

    @precondition(lambda self: self.in_use - {"records"})
    @rule(data=st.data(), collection=st.sampled_from(COLLECTIONS), count=st.integers(1, 3))
    def plain_xadd(self, data: st.DataObject, collection: str, count: int) -> None:
        """A plain Redis client publishes; limits are applied when the broker next looks."""
        name = self.one_of_events(data)
        for _ in range(count):
            self.version += 1
            ms = max(self.run(self.real_ms()) + self.now, order(self.streams[name].last_id)[0])
            fields = ("collection_id", collection, "data", self.version)
            message_id = self.run(self.store.call("XADD", f"broker:{{{name}}}:log", f"{ms}-*", *fields))
            self.streams[name].append(Message(message_id.decode(), "", collection, self.version))
        self.look_at_stream(name)

    def look_at_stream(self, name: str) -> None:
        """Bring it up to date."""
        self.run(self.broker.streams.messages(name, limit=1))
        self.streams[name].look(self.now)

    # -- consumers

    @rule(data=st.data(), start=st.sampled_from(STARTS))
    def late_consumer(self, data: st.DataObject, start: str | int) -> None:
        """It gets what the stream holds from its start on, which may be to come (C32)."""
        self.create_consumer(data.draw(st.sampled_from(self.names), label="name"), start)

    @precondition(lambda self: "events" in self.in_use)
    @rule(data=st.data(), start=st.sampled_from(STARTS[3:]), remake=st.booleans())
    def begin_after_delayed_events(self, data: st.DataObject, start: str | int, remake: bool) -> None:
        """What came due while nobody looked came before a consumer that begins now."""
        name = data.draw(st.sampled_from([n for n in self.names if CONSUMERS[n]["stream_id"] == "events"]), label="name")
        for collection in COLLECTIONS[:2]:
            self.publish_scheduled(collection, "k", 300_000, None)
        self.pass_time(400_200)
        if name in self.consumers and remake:
            self.delete(self.consumers[name])
        if name in self.consumers:
            self.begin_again(self.consumers[name], start)
        else:
            self.create_consumer(name, start)
        self.deliver(self.consumers[name], 3)

    def start_of(self, start: str | int) -> tuple[str, int | None]:
        """A deliver policy, and its time in ms since the epoch."""
        wall = self.run(self.real_ms()) + self.now
        if isinstance(start, int):
            return rfc3339(wall + start), wall + start
        windows = {"400s": 400_000, "15m": 900_000}
        return start, wall - windows[start] if start in windows else None

    def create_consumer(self, name: str, start: str | int) -> None:
        """Create, or find it there."""
        fields = CONSUMERS[name]
        model = self.consumers.get(name)
        if model is not None:
            same = {"deliver_policy": model.policy, "ack_wait_ms": model.ack_wait_ms, "max_deliver": model.max_deliver}
            _, new = self.run(self.broker.consumers.create(ConsumerSpec(name=name, **fields | same)))
            assert not new
            model.look(self.now)
            return
        policy, start_ms = self.start_of(start)
        spec = ConsumerSpec(name=name, ack_wait_ms=ACK_WAIT, deliver_policy=policy, **fields)
        consumer, new = self.run(self.broker.consumers.create(spec))
        assert new
        stream = self.streams[fields["stream_id"]]
        model = ConsumerModel(
            name, stream, MATCHES.get(name, lambda m: True), "filters" in fields or stream.kind == "records", ACK_WAIT,
            consumer.max_deliver, consumer.max_ack_pending, consumer.backoff_ms, consumer.ordering == "key",
        )  # fmt: skip
        stream.look(self.now)
        model.start(policy, start_ms)
        stream.consumers.append(model)
        self.consumers[name] = model
        assert (consumer.info.num_pending, consumer.info.num_ack_pending) == model.counts(), f"{consumer} {model}"

    @precondition(lambda self: len(self.tokens) > 10 and self.consumers)
    @rule(data=st.data())
    def delete_consumer(self, data: st.DataObject) -> None:
        """With all its state."""
        self.delete(self.one(data))

    def delete(self, model: ConsumerModel) -> None:
        """It ends."""
        self.run(self.broker.consumers.delete(model.name))
        model.stream.open(self.now)
        del self.consumers[model.name]
        model.stream.consumers.remove(model)
        self.end_redrive(model)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), max_deliver=st.sampled_from([None, -1, 1, 2, 3]), ack_wait=st.sampled_from([None, *ACK_WAITS]),
          batch=st.integers(0, 3))  # fmt: skip
    def change(self, data: st.DataObject, max_deliver: int | None, ack_wait: int | None, batch: int) -> None:
        """Both count at once for what is out and what waits: fewer deliveries may be used up, a shorter wait over."""
        model = self.one(data)
        model.look(self.now)
        model.max_deliver, model.ack_wait_ms = max_deliver or model.max_deliver, ack_wait or model.ack_wait_ms
        consumer = self.run(self.broker.consumers.update(model.name, ConsumerChanges(max_deliver=max_deliver, ack_wait_ms=ack_wait)))
        model.look(self.now)
        self.check_counts(model, consumer.info)
        if batch:
            self.deliver(model, batch)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), times=st.integers(1, 2), left=st.integers(1, 2))
    def fewer_deliveries(self, data: st.DataObject, times: int, left: int) -> None:
        """What has expired unseen, or was seen to have, and has used up the fewer deliveries is dead at the next look."""
        model = self.one(data)
        for _ in range(times):
            self.deliver(model, 3)
            self.pass_time(1_600_200)
        self.inspect_one(model)
        model.max_deliver = left
        info = self.run(self.broker.consumers.update(model.name, ConsumerChanges(max_deliver=left))).info
        model.look(self.now)
        self.check_counts(model, info)

    # -- workers

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), batch=st.integers(1, 6))
    def next(self, data: st.DataObject, batch: int) -> None:
        """A worker asks."""
        self.deliver(self.one(data), batch)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), batch=st.integers(1, 6), fate=st.sampled_from(FATES), delay=st.sampled_from(DELAYS))
    def work(self, data: st.DataObject, batch: int, fate: str, delay: int | None) -> None:
        """A worker asks and settles what it got, all or one by one."""
        model = self.one(data)
        tokens = self.deliver(model, batch)
        if fate == "reject":
            self.settle(model, tokens, nack=True, outcome="reject")
        half = len(tokens) // 2 if fate == "both" else 0
        if fate in ("ack", "both"):
            self.settle(model, tokens[half:], nack=False)
        if fate in ("nack", "both"):
            self.settle(model, tokens[:half] if fate == "both" else tokens, nack=True, delay=delay)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), batch=st.integers(1, 6), times=st.integers(1, 3), back=st.sampled_from((0, 0, *STEPS_BACK)))
    def workers_that_die(self, data: st.DataObject, batch: int, times: int, back: int) -> None:
        """Nothing is settled, and the ack wait runs out, though the clock steps back meanwhile."""
        model = self.one(data)
        for _ in range(times):
            self.deliver(model, batch)
            if back:
                self.pass_time(400_200)
                self.step_back(back)
                self.deliver(model, 1)
            self.pass_time(1_100_200 if back else 1_600_200)

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data(), nack=st.booleans(), delay=st.sampled_from(DELAYS))
    def settle_any(self, data: st.DataObject, nack: bool, delay: int | None) -> None:
        """Tokens of any age and any consumer: the live ones count, the others change nothing."""
        recent = [token for _, token in self.tokens[-10:]]
        self.settle(self.one(data), data.draw(st.lists(st.sampled_from(recent), min_size=1, max_size=6), label="tokens"), nack, delay)

    @precondition(lambda self: any(model.out for model in self.consumers.values()) and self.tokens)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "extend", "next ack", "next nack"]), own=st.booleans())
    def foreign_tokens(self, data: st.DataObject, how: str, own: bool) -> None:
        """Tokens of other consumers and of other lives for the very messages that are out: all stale, and nothing changes (C24)."""
        model = self.one(data, *(name for name, model in self.consumers.items() if model.out))
        live = [out.token for out in model.out.values() if out.token]
        tails = dict.fromkeys(token.partition(".")[2] for _, token in self.tokens[-40:])
        given = [token for _, token in self.tokens[-40:] if id_of(token) in model.out]
        made = [f"{i}.{tail}" for i in sorted(model.out, key=order)[:3] if model.out[i].token for tail in tails]
        strangers = [token for token in dict.fromkeys((*given, *made)) if token not in live]
        if not strangers:
            return
        # How many there are goes by which messages of several streams were appended in one millisecond: not for Hypothesis to see.
        places = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=8), label="places")
        tokens = [*dict.fromkeys(strangers[place % len(strangers)] for place in places), *live[: int(own)]]
        if how == "extend":
            self.extend_all(model, tokens)
        elif how.startswith("next"):
            self.deliver(model, 1, *(([], [Nack(token) for token in tokens]) if how == "next nack" else (tokens, [])))
        else:
            self.settle(model, tokens, how == "nack")

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data(), nack=st.booleans(), delay=st.sampled_from(DELAYS), outcome=st.sampled_from(OUTCOMES),
          reason=st.sampled_from(REASONS))  # fmt: skip
    def settle_own(self, data: st.DataObject, nack: bool, delay: int | None, outcome: str, reason: str) -> None:
        """Tokens that the consumer gave, the last ones of each message and older ones."""
        model = self.one(data)
        own = [token for name, token in self.tokens if name == model.name][-8:]
        if own:
            tokens = data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=6), label="tokens")
            self.settle(model, tokens, nack, delay, outcome, reason)

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data(), batch=st.integers(1, 4))
    def settle_and_fetch(self, data: st.DataObject, batch: int) -> None:
        """Acks and nacks in the same step as the fetch."""
        model = self.one(data)
        own = [token for name, token in self.tokens if name == model.name][-6:]
        acks, nacks = own[::2], own[1::2]
        self.deliver(model, batch, acks, [Nack(token, None, "release") for token in nacks])

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        """Ack waits begin anew; stale tokens change nothing."""
        model = self.one(data)
        own = list(dict.fromkeys(token for name, token in self.tokens[-8:] if name == model.name))
        if not own:
            return
        self.extend_all(model, own)

    def extend_all(self, model: ConsumerModel, tokens: list[str]) -> None:
        """Extend; the answer tells which tokens were live."""
        done = self.run(self.broker.extend(model.name, tokens))
        model.stream.open(self.now)
        live = [token for token in tokens if model.is_live(token, id_of(token))]
        for token in live:
            model.extend(id_of(token))
        assert (done.count, set(done.stale)) == (len(live), set(tokens) - set(live))

    # -- dead letters

    def one_with_dead(self, data: st.DataObject) -> ConsumerModel:
        """A consumer with dead letters, after those were looked at."""
        model = self.one(data, *(name for name, model in self.consumers.items() if model.dead))
        self.look_at_dead(model)
        return model

    def look_at_dead(self, model: ConsumerModel) -> list[str]:
        """All that is to be known of the dead letters; the messages, in the order of their deaths."""
        page, _ = self.run(self.broker.dead_letters.page(model.name, limit=1000))
        model.expire(self.now)
        assert {d.id: (d.reason, d.deliver_count, d.last_nack_reason or "") for d in page} == {
            i: (letter.reason, letter.count, letter.note) for i, letter in model.dead.items()
        }
        assert all(self.is_time_of(model.dead[d.id].at, d.last_delivered_at) for d in page), f"{page} {model}"
        return [d.id for d in page]

    @precondition(lambda self: any(model.dead for model in self.consumers.values()))
    @rule(data=st.data(), dry_run=st.booleans(), batch=st.integers(0, 6))
    def redrive(self, data: st.DataObject, dry_run: bool, batch: int) -> None:
        """Dead letters come back for their consumer alone, but for those that left the stream."""
        model = self.one_with_dead(data)
        chosen = data.draw(st.lists(st.sampled_from(sorted(model.dead, key=order)), min_size=1, unique=True), label="dead")
        self.put_back(model, chosen, dry_run)
        if batch:
            self.deliver(model, batch)

    def put_back(self, model: ConsumerModel, chosen: list[str], dry_run: bool = False) -> None:
        """Redrive by ids, one of them twice, and one that is none."""
        done = self.run(self.broker.dead_letters.redrive(model.name, [*chosen, *chosen[:1], "1-1"], dry_run=dry_run))
        back = [i for i in chosen if i in model.stream.log]
        for message_id in () if dry_run else back:
            model.redrive(message_id)
        assert (done.redriven, done.gone) == (len(back), len(chosen) - len(back))

    @precondition(lambda self: any(model.keyed and model.stream.kind == "events" for model in self.consumers.values()))
    @rule(data=st.data(), ack=st.booleans())
    def redrive_while_the_key_is_busy(self, data: st.DataObject, ack: bool) -> None:
        """What was rejected waits for the message that has its key now (C42)."""
        names = [name for name, model in self.consumers.items() if model.keyed and model.stream.kind == "events"]
        model = self.one(data, *names)
        self.append_events(CONSUMERS[model.name]["stream_id"], [("a:x", None, "k")] * 2)
        self.settle(model, self.deliver(model, 3), nack=True, outcome="reject")
        taken = self.deliver(model, 3)
        if dead := self.look_at_dead(model):
            self.put_back(model, dead)
        if ack:
            self.settle(model, taken, nack=False)
        self.deliver(model, 6)

    @precondition(lambda self: any(model.dead for model in self.consumers.values()))
    @rule(data=st.data(), limit=st.sampled_from([None, 1, 2]), dry_run=st.booleans(), slow=st.booleans(),
          collection=st.sampled_from(["", "", "", *COLLECTIONS]), reason=st.sampled_from(["", "rejected", "max_deliver"]))  # fmt: skip
    def redrive_matching(self, data: st.DataObject, limit: int | None, dry_run: bool, slow: bool, collection: str, reason: str) -> None:
        """By filter, at once, or as the steps of one that goes on while others work."""
        model = self.one_with_dead(data)
        redrive = Redrive(model, collection, reason, model.deaths, self.look_at_dead(model))
        if slow and not dry_run:
            self.redriving = redrive
            self.go_on_redriving(1)
            return
        dead = self.broker.dead_letters
        done = self.run(dead.redrive_matching(model.name, collection or None, reason or None, limit, dry_run=dry_run))
        if dry_run:
            there = [i for i, letter in model.dead.items() if redrive.wants(i, letter)]
            held = sum(i in model.stream.log for i in there)
            assert done.redriven == min(held, limit or held)
        else:
            assert (done.redriven, done.gone) == redrive.step(limit or math.inf)

    @precondition(lambda self: self.redriving)
    @rule(limit=st.sampled_from([1, 1, 2, 100]))
    def go_on_redriving(self, limit: int) -> None:
        """A redrive by filter puts back what was dead when it began, whatever has died since."""
        redrive = self.redriving
        assert redrive is not None
        arguments = (limit, redrive.collection_id, redrive.reason, redrive.position, redrive.until)
        engine = self.broker.dead_letters._engine
        _, reply = self.run(engine.on_consumer("redrive", redrive.model.name, "", 0, *arguments))
        redrive.model.expire(self.now)
        assert tuple(reply[:2]) == redrive.step(limit), f"{reply} {redrive}"
        redrive.position, redrive.until = reply[2:]
        if not redrive.position:
            assert redrive.step(math.inf) == (0, 0)
            self.redriving = None

    @precondition(lambda self: any(model.dead for model in self.consumers.values()))
    @rule(data=st.data(), reason=st.sampled_from(["", "rejected"]), outcome=st.sampled_from(["reject", "retry"]))
    def redrive_what_is_rejected(self, data: st.DataObject, reason: str, outcome: str) -> None:
        """A worker rejects all that a redrive puts back, as fast as it does."""
        model = self.one_with_dead(data)
        self.settle(model, self.deliver(model, 4), nack=True, outcome="reject")
        self.redriving = Redrive(model, "", reason, model.deaths, self.look_at_dead(model))
        while self.redriving:
            self.go_on_redriving(1)
            self.settle(model, self.deliver(model, 2), nack=True, outcome=outcome)

    def end_redrive(self, model: ConsumerModel) -> None:
        """Its consumer begins again, or ends."""
        if self.redriving and self.redriving.model is model:
            self.redriving = None

    @precondition(lambda self: any(model.dead for model in self.consumers.values()))
    @rule(data=st.data(), everything=st.booleans())
    def purge(self, data: st.DataObject, everything: bool) -> None:
        """Dead letters are deleted."""
        model = self.one_with_dead(data)
        if everything:
            chosen = [*model.dead]
            self.end_redrive(model)  # it goes by positions in a list that begins again, by a clock that may have stepped back
            assert self.run(self.broker.dead_letters.purge(model.name)) == len(chosen)
        else:
            chosen = data.draw(st.lists(st.sampled_from(sorted(model.dead, key=order)), min_size=1, unique=True), label="dead")
            assert self.run(self.broker.dead_letters.purge(model.name, [*chosen, chosen[0], "1-1"])) == len(chosen)
        for message_id in chosen:
            del model.dead[message_id]

    @precondition(lambda self: len(self.tokens) > 10 and self.consumers)
    @rule(data=st.data(), start=st.sampled_from(STARTS))
    def reset(self, data: st.DataObject, start: str | int) -> None:
        """A consumer starts again, from elsewhere."""
        self.begin_again(self.one(data), start)

    def begin_again(self, model: ConsumerModel, start: str | int) -> None:
        """Reset it."""
        policy, start_ms = self.start_of(start)
        consumer = self.run(self.broker.consumers.reset(model.name, policy))
        model.stream.look(self.now)
        model.start(policy, start_ms)
        self.end_redrive(model)
        self.check_counts(model, consumer.info)

    @precondition(lambda self: len(self.tokens) > 10 and self.consumers)
    @rule(data=st.data())
    def pause_or_resume(self, data: st.DataObject) -> None:
        """A pause delivers nothing until it ends."""
        model = self.one(data, *(name for name, model in self.consumers.items() if model.paused))
        self.run(self.broker.consumers.resume(model.name) if model.paused else self.broker.consumers.pause(model.name))
        model.look(self.now)
        model.paused = not model.paused

    def deliver(self, model: ConsumerModel, batch: int, acks: Sequence[str] = (), nacks: Sequence[Nack] = ()) -> list[str]:
        """The very messages, in order, with fresh tokens, newest content and exact counts."""
        got = self.run(self.broker.next(model.name, batch, ack=acks, nack=nacks))
        model.stream.look(self.now)
        model.notice()
        stale = self.expect(model, acks, nack=False)
        for nack in nacks:
            stale += self.expect(model, [nack.ack_token], nack=True, delay=nack.delay_ms, outcome=nack.outcome)
        model.look(self.now)
        expected = model.next(batch, self.at)
        assert got.settled.acked + got.settled.nacked == len(acks) + len(nacks) - len(stale)
        assert sorted(got.settled.stale) == sorted(stale)
        given = [(d.id, d.deliver_count) for d in got.deliveries]
        assert given == expected, f"{given} {expected} {model}"
        assert (got.num_pending, got.num_ack_pending) == model.counts(), f"{got.num_pending}, {got.num_ack_pending}: {model}"
        for delivery in got.deliveries:
            assert delivery.ack_token not in self.seen
            self.seen.add(delivery.ack_token)
            self.tokens.append((model.name, delivery.ack_token))
            model.out[delivery.id].token = delivery.ack_token
            content = msgspec.json.decode(delivery.json)
            assert content["data"] == model.stream.log[delivery.id].data
            if model.stream.kind == "events":
                assert content["inserted_at"] == rfc3339(order(delivery.id)[0])
        return [delivery.ack_token for delivery in got.deliveries]

    def settle(
        self, model: ConsumerModel, tokens: list[str], nack: bool, delay: int | None = None, outcome: str = "retry", reason: str = ""
    ) -> None:
        """Ack or nack; the answer tells which tokens were live."""
        if not tokens:
            return
        if nack:
            row = {"delay_ms": delay, "outcome": outcome, "reason": reason or None}
            nacks = [msgspec.convert({"ack_token": token} | row, Nack) for token in tokens]
            settled = self.run(self.broker.nack(model.name, nacks))
            model.stream.open(self.now)
        else:
            settled = self.run(self.broker.ack(model.name, tokens))
        stale = self.expect(model, tokens, nack, delay, outcome, reason)
        assert (settled.count, settled.stale) == (len(tokens) - len(stale), stale)

    def expect(
        self, model: ConsumerModel, tokens: Sequence[str], nack: bool, delay: int | None = None, outcome: str = "retry", reason: str = ""
    ) -> list[str]:
        """What settling does to the model; gives the tokens that are stale."""
        stale = []
        for token in tokens:
            message_id = id_of(token)
            if not model.is_live(token, message_id):
                stale.append(token)
            elif nack:
                model.nack(message_id, delay, outcome, reason)
            else:
                model.ack(message_id)
        return stale

    @precondition(lambda self: any(name in self.consumers for name in UNFILTERED_EVENTS))
    @rule(data=st.data(), count=st.integers(1, 3), ack=st.booleans())
    def plain_worker(self, data: st.DataObject, count: int, ack: bool) -> None:
        """A plain client shares the group; its position is known again within a second."""
        model = self.one(data, *UNFILTERED_EVENTS)
        self.look_at_stream(CONSUMERS[model.name]["stream_id"])
        if model.stream.lapsed - model.delivered:
            return  # a plain client is given those too
        log = f"broker:{{{CONSUMERS[model.name]['stream_id']}}}:log"
        reply = self.run(self.store.call("XREADGROUP", "GROUP", model.name, "plain", "COUNT", count, "STREAMS", log, ">"))
        ids = [entry[0].decode() for entry in reply[0][1]] if reply else []
        assert ids == model.new[:count]
        model.new = model.new[count:]
        for message_id in ids:
            model.out[message_id] = Out(None, 1, self.at, None, model.stream.now)
            model.delivered.add(message_id)
            self.run(self.store.call("HSET", f"broker:test:at:{log}:{model.name}", message_id, self.now))
        if ack and ids:
            self.run(self.store.call("XACK", log, model.name, ids[0]))
            model.ack(ids[0])
        self.pass_time(1_100)
        self.inspect_one(model)

    @precondition(lambda self: any(name in self.consumers for name in UNFILTERED_EVENTS))
    @rule(data=st.data())
    def plain_ack(self, data: st.DataObject) -> None:
        """A plain client acks what was given to a worker, whose token is stale then."""
        model = self.one(data, *UNFILTERED_EVENTS)
        if model.out:
            message_id = data.draw(st.sampled_from(sorted(model.out)), label="message")
            log = f"broker:{{{CONSUMERS[model.name]['stream_id']}}}:log"
            assert self.run(self.store.call("XACK", log, model.name, message_id)) == 1
            model.ack(message_id)

    # -- the world

    @rule(ms=st.sampled_from(STEPS))
    def pass_time(self, ms: int) -> None:
        """Deliveries grow older."""
        self.run(advance(self.store, ms))
        self.now += ms

    @rule(ms=st.sampled_from(STEPS_BACK))
    def step_back(self, ms: int) -> None:
        """Redis' clock is put back: nothing comes early, and what waits for a time span waits for one more at most (C22)."""
        self.run(advance(self.store, -ms))
        self.now -= ms
        self.backs += 1

    @rule()
    def forget_scripts(self) -> None:
        """Redis forgets the scripts, as after a restart."""
        self.run(self.store.call("SCRIPT", "FLUSH"))

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def inspect(self, data: st.DataObject) -> None:
        """Counts, what is out, what is dead; and peek foretells the next batch without changing anything."""
        self.inspect_one(self.one(data))

    def inspect_one(self, model: ConsumerModel) -> None:
        """All that may be seen of a consumer."""
        name = model.name
        info = self.run(self.broker.consumers.get(name)).info
        model.look(self.now)
        self.check_counts(model, info)
        rows, _ = self.run(self.broker.deliveries.pending(name, limit=1000))
        assert [(r.id, r.deliver_count, r.reason or "") for r in rows] == [
            (i, model.out[i].count, model.out[i].reason) for i in sorted(model.out, key=order)
        ]
        for row in rows:
            out = model.out[row.id]
            assert self.is_time_of(out.at, row.delivered_at), f"{row} {model}"
            if not out.over and (out.began is None or out.began == out.since + model.backoff(out.count)):
                since = Delivered(out.since - model.stream.lead, out.at.backs if out.began is None else self.backs)
                assert self.is_time_of(since, rfc3339(microseconds(row.expires_at) // 1000 - model.ack_wait_ms)), f"{row} {model}"
        self.look_at_dead(model)
        self.inspect_message(model)
        foretold = [(p.id, p.deliver_count) for p in self.run(self.broker.deliveries.peek(name, 3))]
        assert foretold == model.peek(3, self.now)

    def inspect_message(self, model: ConsumerModel) -> None:
        """What is retried, and what some message of the stream is to each of its consumers."""
        rows, _ = self.run(self.broker.inspection.retrying(model.name, limit=1000))
        waiting = {i: model.retry.get(i) or model.put_aside[i] for i in model.retrying()}
        blocked = set(model.blocked())
        assert [(r.id, r.deliver_count, r.reason or "", r.blocked) for r in rows] == [
            (i, waiting[i].count, waiting[i].reason, i in blocked) for i in sorted(waiting, key=order)
        ], f"{rows} {model}"
        stream = model.stream
        name = next(n for n, s in self.streams.items() if s is stream)
        for message_id in list(stream.log)[self.version % 3 :: 3]:
            _, states = self.run(self.broker.inspection.message(name, message_id))
            for consumer in stream.consumers:
                consumer.look(self.now)
            told = {s.consumer: s.state for s in states}
            assert told == {c.name: c.state(message_id) for c in stream.consumers}, f"{message_id} {stream}"

    def check_counts(self, model: ConsumerModel, info: ConsumerInfo) -> None:
        """They are exact."""
        redelivered = sum(1 for o in model.out.values() if o.count > 1)
        wall_ms = self.run(self.real_ms()) + self.now
        idle = model.idle_because(self.now, wall_ms)
        expected = (*model.counts(), len(model.dead), redelivered, len(model.retrying()), len(model.blocked()), idle)
        told = msgspec.structs.astuple(info)
        assert (*told[:6], info.idle_because) == expected, f"{info} {expected} {model}"
        oldest = model.oldest_pending()
        assert info.oldest_pending_at == (None if oldest is None else rfc3339(oldest)), f"{info} {model}"
        assert (info.oldest_ack_pending_at is None) == (not model.out)

    @invariant()
    def all_is_seen(self) -> None:
        """An operator who looks at everything all the time."""
        for model in self.consumers.values() if self.watched else ():
            self.inspect_one(model)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every live message of a stream is in one place only for each consumer that wants it."""
        for model in self.consumers.values():
            places = [*model.new, *model.retry, *model.parked]
            assert len(places) == len(set(places))
            assert not set(places) & set(model.out)
            holders = [m for m in (model.stream.log.get(i) for i in (*model.out, *model.retry)) if m and m.key and model.keyed]
            assert len({m.key for m in holders}) == len(holders)


def test_random_histories_agree_with_the_model(redis_server: Embedded) -> None:
    Machine.url = redis_server.url
    run_histories(Machine, examples=80, steps=60)
