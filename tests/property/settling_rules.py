"""Rules of a random history: workers, and plain clients in their groups, take and settle messages."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from broker import Nack
from broker.consumers.ack_tokens import parse
from broker.messages.times import rfc3339
from tests.property.checks import Checks
from tests.property.consumer_state import Out
from tests.property.model import ConsumerModel
from tests.property.stream_model import order
from tests.property.world import CONSUMERS, STEPS_BACK

DELAYS = (None, 0, 700_000)
REASONS = ("", "", "no answer", "bad data")
FATES = ("ack", "nack", "both", "neither", "reject")
OUTCOMES = ("retry", "retry", "release", "reject")
UNFILTERED_EVENTS = ("events-all", "limited-all")


def id_of(token: str) -> str:
    """The id of the message that the token names."""
    parse([token])
    return token.partition(".")[0]


class Settling(Checks):
    """Workers."""

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
        """Tokens of other consumers and other lives for messages that are out: all stale, and nothing changes (C24)."""
        model = self.one(data, *(name for name, model in self.consumers.items() if model.out))
        live = [out.token for out in model.out.values() if out.token]
        tails = dict.fromkeys(token.partition(".")[2] for _, token in self.tokens[-40:])
        given = [token for _, token in self.tokens[-40:] if id_of(token) in model.out]
        made = [f"{i}.{tail}" for i in sorted(model.out, key=order)[:3] if model.out[i].token for tail in tails]
        strangers = [token for token in dict.fromkeys((*given, *made)) if token not in live]
        if not strangers:
            return
        # How many there are goes by which messages of several streams were appended in one millisecond: not for
        # Hypothesis to see.
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
        """Ack waits begin again; stale tokens change nothing."""
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
