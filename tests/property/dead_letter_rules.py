"""Rules of a random history by which dead letters are put back or purged, at once or while others work."""

import math

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property.model import ConsumerModel, Redrive
from tests.property.publishing_rules import Publishing
from tests.property.settling_rules import Settling
from tests.property.stream_model import order
from tests.property.world import COLLECTIONS, CONSUMERS


class DeadLetters(Publishing, Settling):
    """Those who look after what died."""

    def one_with_dead(self, data: st.DataObject) -> ConsumerModel:
        """A consumer with dead letters, after those were looked at."""
        model = self.one(data, *(name for name, model in self.consumers.items() if model.dead))
        self.look_at_dead(model)
        return model

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
        """A redrive by filter puts back what was dead when it began, not what has died since."""
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
