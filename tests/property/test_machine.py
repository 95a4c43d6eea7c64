"""Random calls of many workers, held against the model: every answer, every count, every token (C12-C32)."""

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker import Broker, ConsumerSpec, Filters, Nack, Store, StreamSpec
from broker.ack_tokens import parse
from broker.embedded import Embedded
from tests.property.model import ConsumerModel, Message, Out, StreamModel, order
from tests.support.clock import advance, shifted_scripts
from tests.support.machines import run_histories

# Steps of time are so long that the test's own time does not count.
ACK_WAIT = 1_000_000
DEDUPE = 2_000_000
STEPS = (1_100, 400_000, 1_100_000)
DELAYS = (None, 0, 700_000)
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


class Machine(RuleBasedStateMachine):
    """Publishers, workers over HTTP-like calls, plain Redis clients, and time."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 0
        self.version = 0
        self.streams: dict[str, StreamModel] = {}
        self.consumers: dict[str, ConsumerModel] = {}
        self.tokens: list[tuple[str, str]] = []  # (consumer, token) of every delivery ever made
        self.seen: set[str] = set()
        self.delayed: list[tuple[int, Message]] = []  # when due, and the event that is not yet in the log

    def run(self, awaitable: Any) -> Any:
        """Wait for a call."""
        return self.runner.run(awaitable)

    @initialize(early=st.sets(st.sampled_from(sorted(CONSUMERS)), min_size=1), eager=st.booleans())
    def begin(self, early: set[str], eager: bool) -> None:
        """An empty Redis, a broker with a movable clock, and some of the consumers."""

        async def open_all() -> None:
            self.store = Store.from_url(self.url)
            await self.store.call("FLUSHALL")
            self.broker = Broker(Store.from_url(self.url), scripts=shifted_scripts())
            if eager:
                self.broker.deliveries._fast_read._rounds = Eager()
            await self.broker.start()
            await self.broker.streams.delete("events")
            for name, model in STREAMS.items():
                limits = {"max_messages": model.max_messages, "dedupe_window_ms": model.dedupe_window_ms} if model.kind == "events" else {}
                await self.broker.streams.create(msgspec.convert({"name": name, "kind": model.kind} | limits, StreamSpec))

        self.run(open_all())
        self.streams = {n: StreamModel(m.kind, m.max_messages, m.dedupe_window_ms) for n, m in STREAMS.items()}
        for name in sorted(early):
            self.create_consumer(name)

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

    @rule(key=st.sampled_from("pqrst"), collection=st.sampled_from(COLLECTIONS), change=st.booleans(), deleted=st.booleans())
    def publish_record(self, key: str, collection: str, change: bool, deleted: bool) -> None:
        """A new version, or the same one again."""
        stream = self.streams["records"]
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

    @rule(
        name=st.sampled_from(("events", "limited")),
        batch=st.lists(EVENTS, min_size=1, max_size=4),
    )
    def publish_events(self, name: str, batch: list[tuple[str, str | None, str | None]]) -> None:
        """Events, some with an id that may be remembered."""
        stream = self.streams[name]
        messages = []
        for collection, event_id, key in batch:
            self.version += 1
            given = {"id": event_id} if event_id and name == "events" else {}
            messages.append({"collection_id": collection, "data": self.version, "key": key} | given)
        results = self.run(self.broker.publish(name, messages))
        for message, result in zip(messages, results, strict=True):
            known = stream.remembered.get(str(message.get("id")))
            if known is not None and self.now - known[1] < stream.dedupe_window_ms:
                assert (result.status, result.message_id) == ("duplicate", known[0])
                continue
            assert result.status == "created"
            if "id" in message:
                stream.remembered[str(message["id"])] = (result.message_id, self.now)
            stream.append(Message(result.message_id, str(message["key"] or ""), str(message["collection_id"]), int(str(message["data"]))))

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
        if delay:
            seconds, micros = self.run(self.store.call("TIME"))
            at = datetime.fromtimestamp(int(seconds) + int(micros) / 1e6, UTC) + timedelta(milliseconds=self.now + delay)
            message["deliver_at"] = at.isoformat()
        [result] = self.run(self.broker.publish("events", [message]))
        assert result.status == "created"
        assert (result.message_id is None) == (delay > 0)
        due = self.now + delay
        event = Message(result.message_id or "", key, collection, self.version, lapses_at=math.inf if ttl is None else due + ttl)
        if delay:
            self.delayed.append((due, event))
        else:
            self.streams["events"].append(event)

    @rule(name=st.sampled_from(("events", "limited")), collection=st.sampled_from(COLLECTIONS), count=st.integers(1, 3))
    def plain_xadd(self, name: str, collection: str, count: int) -> None:
        """A plain Redis client publishes; limits are applied when the broker next looks."""
        for _ in range(count):
            self.version += 1
            message_id = self.run(self.store.call("XADD", f"broker:{{{name}}}:log", "*", "collection_id", collection, "data", self.version))
            self.streams[name].append(Message(message_id.decode(), "", collection, self.version))
        self.run(self.broker.streams.messages(name, limit=1))

    # -- consumers

    @rule(name=st.sampled_from(sorted(CONSUMERS)))
    def late_consumer(self, name: str) -> None:
        """It gets what the stream holds (C32)."""
        self.create_consumer(name)

    def create_consumer(self, name: str) -> None:
        """Create, or find it there."""
        fields = CONSUMERS[name]
        consumer, new = self.run(self.broker.consumers.create(ConsumerSpec(name=name, ack_wait_ms=ACK_WAIT, **fields)))
        assert new == (name not in self.consumers)
        if not new:
            self.consumers[name].bury_expired(self.now)
            return
        stream = self.streams[fields["stream_id"]]
        model = ConsumerModel(
            name, stream, MATCHES.get(name, lambda m: True), "filters" in fields, ACK_WAIT, consumer.max_deliver, consumer.max_ack_pending,
            consumer.backoff_ms, consumer.ordering == "key",
        )  # fmt: skip
        model.start()
        stream.consumers.append(model)
        self.consumers[name] = model

    @precondition(lambda self: len(self.consumers) > 3)
    @rule(data=st.data())
    def delete_consumer(self, data: st.DataObject) -> None:
        """With all its state."""
        model = self.one(data)
        self.run(self.broker.consumers.delete(model.name))
        del self.consumers[model.name]
        model.stream.consumers.remove(model)

    # -- workers

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), batch=st.integers(1, 6))
    def next(self, data: st.DataObject, batch: int) -> None:
        """A worker asks."""
        self.deliver(self.one(data), batch)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), batch=st.integers(1, 6), fate=st.sampled_from(["ack", "nack", "both", "neither"]), delay=st.sampled_from(DELAYS))
    def work(self, data: st.DataObject, batch: int, fate: str, delay: int | None) -> None:
        """A worker asks and settles what it got, all or one by one."""
        model = self.one(data)
        tokens = self.deliver(model, batch)
        half = len(tokens) // 2 if fate == "both" else 0
        if fate in ("ack", "both"):
            self.settle(model, tokens[half:], nack=False)
        if fate in ("nack", "both"):
            self.settle(model, tokens[:half] if fate == "both" else tokens, nack=True, delay=delay)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), batch=st.integers(1, 6), times=st.integers(1, 3))
    def workers_that_die(self, data: st.DataObject, batch: int, times: int) -> None:
        """Nothing is settled, and the ack wait runs out."""
        model = self.one(data)
        for _ in range(times):
            self.deliver(model, batch)
            self.pass_time(1_600_000)

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data(), nack=st.booleans(), delay=st.sampled_from(DELAYS))
    def settle_any(self, data: st.DataObject, nack: bool, delay: int | None) -> None:
        """Tokens of any age and any consumer: the live ones count, the others change nothing."""
        recent = [token for _, token in self.tokens[-10:]]
        self.settle(self.one(data), data.draw(st.lists(st.sampled_from(recent), min_size=1, max_size=6), label="tokens"), nack, delay)

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data(), nack=st.booleans(), delay=st.sampled_from(DELAYS), outcome=st.sampled_from(OUTCOMES))
    def settle_own(self, data: st.DataObject, nack: bool, delay: int | None, outcome: str) -> None:
        """Tokens that the consumer gave, the last ones of each message and older ones."""
        model = self.one(data)
        own = [token for name, token in self.tokens if name == model.name][-8:]
        if own:
            tokens = data.draw(st.lists(st.sampled_from(own), min_size=1, max_size=6), label="tokens")
            self.settle(model, tokens, nack, delay, outcome)

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data(), batch=st.integers(1, 4))
    def settle_and_fetch(self, data: st.DataObject, batch: int) -> None:
        """Acks and nacks in the same step as the fetch."""
        model = self.one(data)
        own = [token for name, token in self.tokens if name == model.name][-6:]
        acks, nacks = own[::2], own[1::2]
        stale = [*self.expect(model, acks, nack=False), *self.expect(model, nacks, nack=True, outcome="release")]
        self.deliver(model, batch, acks, [Nack(token, None, "release") for token in nacks], stale)

    @precondition(lambda self: self.consumers and self.tokens)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        """Ack waits begin anew; stale tokens change nothing."""
        model = self.one(data)
        own = list(dict.fromkeys(token for name, token in self.tokens[-8:] if name == model.name))
        if not own:
            return
        done = self.run(self.broker.extend(model.name, own))
        live = [token for token in own if model.is_live(token, id_of(token))]
        for token in live:
            model.out[id_of(token)].at = self.now
        assert (done.count, set(done.stale)) == (len(live), set(own) - set(live))

    @precondition(lambda self: any(model.dead for model in self.consumers.values()))
    @rule(data=st.data())
    def redrive(self, data: st.DataObject) -> None:
        """Dead letters come back for their consumer alone, but for those that left the stream."""
        model = self.one(data, *(name for name, model in self.consumers.items() if model.dead))
        model.bury_expired(self.now)
        chosen = data.draw(st.lists(st.sampled_from(sorted(model.dead, key=order)), min_size=1, unique=True), label="dead")
        done = self.run(self.broker.dead_letters.redrive(model.name, chosen))
        back = [i for i in chosen if i in model.stream.log]
        for message_id in back:
            model.redrive(message_id)
        assert (done.redriven, done.gone) == (len(back), len(chosen) - len(back))

    @precondition(lambda self: len(self.tokens) > 10 and self.consumers)
    @rule(data=st.data(), pause=st.booleans())
    def reset_or_pause(self, data: st.DataObject, pause: bool) -> None:
        """A reset starts anew; a pause delivers nothing until it ends."""
        model = self.one(data)
        if pause and not model.paused:
            self.run(self.broker.consumers.pause(model.name))
            model.bury_expired(self.now)
            model.paused = True
        elif model.paused:
            self.run(self.broker.consumers.resume(model.name))
            model.bury_expired(self.now)
            model.paused = False
        else:
            self.run(self.broker.consumers.reset(model.name, "all"))
            model.forget()

    def deliver(
        self, model: ConsumerModel, batch: int, acks: Sequence[str] = (), nacks: Sequence[Nack] = (), stale: Sequence[str] = ()
    ) -> list[str]:
        """The very messages, in order, with fresh tokens, newest content and exact counts."""
        expected = model.next(batch, self.now)
        got = self.run(self.broker.next(model.name, batch, ack=acks, nack=nacks))
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
            assert msgspec.json.decode(delivery.json)["data"] == model.stream.log[delivery.id].data
        return [delivery.ack_token for delivery in got.deliveries]

    def settle(self, model: ConsumerModel, tokens: list[str], nack: bool, delay: int | None = None, outcome: str = "retry") -> None:
        """Ack or nack; the answer tells which tokens were live."""
        if not tokens:
            return
        if nack:
            nacks = [msgspec.convert({"ack_token": token, "delay_ms": delay, "outcome": outcome}, Nack) for token in tokens]
            settled = self.run(self.broker.nack(model.name, nacks))
        else:
            settled = self.run(self.broker.ack(model.name, tokens))
        stale = self.expect(model, tokens, nack, delay, outcome)
        assert (settled.count, settled.stale) == (len(tokens) - len(stale), stale)

    def expect(
        self, model: ConsumerModel, tokens: list[str], nack: bool, delay: int | None = None, outcome: str = "retry"
    ) -> list[str]:
        """What settling does to the model; gives the tokens that are stale."""
        stale = []
        for token in tokens:
            message_id = id_of(token)
            if not model.is_live(token, message_id):
                stale.append(token)
            elif nack:
                model.nack(message_id, delay, outcome, self.now)
            else:
                model.ack(message_id)
        return stale

    @precondition(lambda self: any(name in self.consumers for name in UNFILTERED_EVENTS))
    @rule(data=st.data(), count=st.integers(1, 3), ack=st.booleans())
    def plain_worker(self, data: st.DataObject, count: int, ack: bool) -> None:
        """A plain client shares the group; its position is known again within a second."""
        model = self.one(data, *UNFILTERED_EVENTS)
        if model.stream.lapsed - model.delivered:
            return  # a plain client is given those too
        log = f"broker:{{{CONSUMERS[model.name]['stream_id']}}}:log"
        reply = self.run(self.store.call("XREADGROUP", "GROUP", model.name, "plain", "COUNT", count, "STREAMS", log, ">"))
        ids = [entry[0].decode() for entry in reply[0][1]] if reply else []
        assert ids == model.new[:count]
        model.new = model.new[count:]
        for message_id in ids:
            model.out[message_id] = Out(None, 1, self.now)
            model.delivered.add(message_id)
            self.run(self.store.call("HSET", f"broker:test:at:{log}:{model.name}", message_id, self.now))
        if ack and ids:
            self.run(self.store.call("XACK", log, model.name, ids[0]))
            model.ack(ids[0])
        self.pass_time(1_100)

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
        events = self.streams["events"]
        due = sorted((d for d in self.delayed if d[0] <= self.now), key=lambda d: (d[0], d[1].data))
        self.delayed = [d for d in self.delayed if d[0] > self.now]
        if due:
            held, _ = self.run(self.broker.streams.messages("events", limit=1000))
            come = [message for message in held if message.id not in events.log]
            assert [msgspec.json.decode(message.json)["data"] for message in come] == [event.data for _, event in due]
            for message, (_, event) in zip(come, due, strict=True):
                event.id = message.id
                events.append(event)
        events.lapse(self.now)

    @rule()
    def forget_scripts(self) -> None:
        """Redis forgets the scripts, as after a restart."""
        self.run(self.store.call("SCRIPT", "FLUSH"))

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def inspect(self, data: st.DataObject) -> None:
        """Counts, what is out, what is dead; and peek foretells the next batch without changing anything."""
        model = self.one(data)
        name = model.name
        model.bury_expired(self.now)
        info = self.run(self.broker.consumers.get(name)).info
        redelivered = sum(1 for o in model.out.values() if o.count > 1)
        expected = (*model.counts(), len(model.dead), redelivered)
        assert msgspec.structs.astuple(info) == expected, f"{info} {expected} {model}"
        rows, _ = self.run(self.broker.deliveries.pending(name, limit=1000))
        assert [(r.id, r.deliver_count) for r in rows] == [(i, model.out[i].count) for i in sorted(model.out, key=order)]
        dead, _ = self.run(self.broker.dead_letters.page(name, limit=1000))
        assert {d.id: (d.reason, d.deliver_count) for d in dead} == model.dead
        foretold = [(p.id, p.deliver_count) for p in self.run(self.broker.deliveries.peek(name, 3))]
        assert foretold == model.peek(3, self.now)

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
    run_histories(Machine, examples=120, steps=60)
