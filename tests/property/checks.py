"""What a random history compares with the model: counts, what is out, retried or dead, and each message."""

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from broker.consumers.fields import ConsumerInfo
from broker.messages.times import microseconds, rfc3339
from tests.property.consumer_state import Delivered
from tests.property.model import ConsumerModel
from tests.property.stream_model import order
from tests.property.world import World


class Checks(World):
    """An operator, who looks and changes nothing."""

    def look_at_stream(self, name: str) -> None:
        """Bring it up to date."""
        self.run(self.broker.streams.messages(name, limit=1))
        self.streams[name].look(self.now)

    def look_at_dead(self, model: ConsumerModel) -> list[str]:
        """All that is to be known of the dead letters; the messages, in the order of their deaths."""
        page, _ = self.run(self.broker.dead_letters.page(model.name, limit=1000))
        model.expire(self.now)
        assert {d.id: (d.reason, d.deliver_count, d.last_nack_reason or "") for d in page} == {
            i: (letter.reason, letter.count, letter.note) for i, letter in model.dead.items()
        }
        assert all(self.is_time_of(model.dead[d.id].at, d.last_delivered_at) for d in page), f"{page} {model}"
        return [d.id for d in page]

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def inspect(self, data: st.DataObject) -> None:
        """Counts, what is out, what is dead; and peek shows the next batch without changing anything."""
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
        peeked = [(p.id, p.deliver_count) for p in self.run(self.broker.deliveries.peek(name, 3))]
        assert peeked == model.peek(3, self.now)

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
            found = {s.consumer: s.state for s in states}
            assert found == {c.name: c.state(message_id) for c in stream.consumers}, f"{message_id} {stream}"

    def check_counts(self, model: ConsumerModel, info: ConsumerInfo) -> None:
        """They are exact."""
        redelivered = sum(1 for o in model.out.values() if o.count > 1)
        wall_ms = self.run(self.real_ms()) + self.now
        idle = model.idle_because(self.now, wall_ms)
        expected = (*model.counts(), len(model.dead), redelivered, len(model.retrying()), len(model.blocked()), idle)
        counted = msgspec.structs.astuple(info)
        assert (*counted[:6], info.idle_because) == expected, f"{info} {expected} {model}"
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
