"""Rules of a random history by which consumers are created, changed, reset, paused and deleted."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from broker import ConsumerChanges, ConsumerSpec
from broker.messages.times import rfc3339
from tests.property.dead_letter_rules import DeadLetters
from tests.property.model import ConsumerModel
from tests.property.world import ACK_WAIT, COLLECTIONS, CONSUMERS, MATCHES

ACK_WAITS = (500_000, ACK_WAIT, 2_000_000)
# Where a consumer begins: a policy, or so many ms from now.
STARTS = ("all", "all", "all", "new", "last", "400s", "15m", -900_000, -300_000, 300_000, 900_000, 2_000_000)


class Consumers(DeadLetters):
    """Those who own consumers."""

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
        """What has expired and has used up the fewer deliveries is dead at the next look, seen before or not."""
        model = self.one(data)
        for _ in range(times):
            self.deliver(model, 3)
            self.pass_time(1_600_200)
        self.inspect_one(model)
        model.max_deliver = left
        info = self.run(self.broker.consumers.update(model.name, ConsumerChanges(max_deliver=left))).info
        model.look(self.now)
        self.check_counts(model, info)

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
