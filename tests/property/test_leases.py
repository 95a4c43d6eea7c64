"""Leases decide no ack otherwise than the rows of the pending list do (lua/shared/leases.lua).

Every batch is leased here, and almost every one is given by `read`, which alone makes leases: the sweep and the look for plain
clients are put off.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker import Broker, ConsumerSpec, Nack, Store, keys
from broker.embedded import Embedded
from tests.support.clock import shifted_scripts
from tests.support.machines import run_histories

LOG, CONSUMER, LEASES = keys.log("events"), "broker:{events}:consumer:c", "broker:{events}:leases:c"


MEANWHILE = ("plain_ack", "nack", "nack_and_next", "ack_some")


class Leasing(RuleBasedStateMachine):
    """One consumer, its workers, and plain clients of its group."""

    url = ""
    by_lease = 0  # acks that a lease answered

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.live: dict[str, str] = {}  # message id -> the token of the delivery that is out
        self.batches: list[list[str]] = []

    def run(self, awaitable: Any) -> Any:
        """Wait for a call."""
        return self.runner.run(awaitable)

    @initialize(keyed=st.booleans())
    def begin(self, keyed: bool) -> None:
        """An empty Redis and a consumer of which batches can be read."""

        async def open_all() -> None:
            self.store = Store.from_url(self.url)
            await self.store.call("FLUSHALL")
            self.broker = Broker(Store.from_url(self.url), scripts=shifted_scripts(leased=1))
            await self.broker.start()
            spec = ConsumerSpec(name="c", stream_id="events", max_ack_pending=1000, ordering="key" if keyed else "none")
            await self.broker.consumers.create(spec)
            # More than a history takes, each of a key of its own where keys count.
            events = [{"collection_id": "a:b", "key": f"k{n}" if keyed else None, "data": n} for n in range(900)]
            await self.broker.publish("events", events)

        self.keyed = keyed
        self.run(open_all())
        self.begin_anew()

    async def put_off(self) -> None:
        """Neither upkeep nor an ack wait that is over is in the way of `read`."""
        await self.store.call("HSET", CONSUMER, "synced_at", 2**43, "verified_at", 2**43, "sweep_at", 2**43)
        self.broker.deliveries._rounds_without_read.clear()

    def teardown(self) -> None:
        """Close what was opened."""

        async def close_all() -> None:
            await self.broker.close()
            await self.store.close()

        self.run(close_all())
        self.runner.close()

    def keep(self, batch: Any) -> None:
        """Remember what was given."""
        tokens = []
        for delivery in batch.deliveries:
            assert delivery.id not in self.live, "out twice"
            self.live[delivery.id] = delivery.ack_token
            tokens.append(delivery.ack_token)
        if tokens:
            self.batches.append(tokens)

    def expect(self, tokens: Sequence[str]) -> list[str]:
        """Settle in the model; gives the tokens that are stale."""
        stale = []
        for token in tokens:
            message_id = token.partition(".")[0]
            if self.live.get(message_id) == token:
                del self.live[message_id]
            else:
                stale.append(token)
        return stale

    async def leased(self, tokens: Sequence[str]) -> bool:
        """Whether the batch of these tokens has a lease that is good."""
        size, out = await self.store.call("HMGET", LEASES, tokens[0].rpartition(".")[2], "out")
        readers = dict((await self.store.call("XPENDING", LOG, "c"))[3] or [])
        return size is not None and out == readers.get(b"http")

    def ack(self, tokens: Sequence[str]) -> None:
        """The rows decide, whoever answers."""
        Leasing.by_lease += self.run(self.leased(tokens))
        settled = self.run(self.broker.ack("c", tokens))
        stale = self.expect(tokens)
        assert (settled.count, settled.stale) == (len(tokens) - len(stale), stale)

    @rule(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3))
    def fetch(self, sizes: list[int]) -> None:
        """Workers that come together share a batch."""

        async def together() -> list[Any]:
            await self.put_off()
            return await asyncio.gather(*(self.broker.next("c", size) for size in sizes))

        for batch in self.run(together()):
            self.keep(batch)

    @rule(data=st.data(), sizes=st.lists(st.integers(1, 12), min_size=2, max_size=4), meanwhile=st.sampled_from([None, None, *MEANWHILE]))
    def work(self, data: st.DataObject, sizes: list[int], meanwhile: str | None) -> None:
        """Workers ack all that they were given, in any order, some twice; one thing happens in between."""
        first = len(self.batches)
        self.fetch(sizes[:1])
        self.fetch(sizes[1:])
        order = data.draw(st.permutations([*self.batches[first:]] * 2), label="acks")
        for i, tokens in enumerate(order):
            if i == 1 and meanwhile == "plain_ack" and self.live:
                self.plain_ack(data)
            elif i == 1 and meanwhile == "nack" and self.live:
                self.nack(data, "retry", 0)
            elif i == 1 and meanwhile == "nack_and_next" and self.live:
                self.nack(data, "release", 0)
                self.fetch_by_next(1)
            elif i == 1 and meanwhile == "ack_some":
                self.ack_some(data, 2)
            self.ack(data.draw(st.permutations(tokens), label="tokens"))

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), size=st.integers(1, 14))
    def ack_some(self, data: st.DataObject, size: int) -> None:
        """Parts of batches, some of them twice, and several together: as many as a batch has, or not."""
        batches = data.draw(st.lists(st.sampled_from(self.batches), min_size=1, max_size=3), label="batches")
        tokens = [token for batch in batches for token in batch]
        self.ack(data.draw(st.lists(st.sampled_from(tokens), min_size=size, max_size=size), label="tokens"))

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), size=st.integers(1, 12))
    def settle_and_fetch(self, data: st.DataObject, size: int) -> None:
        """In one step."""
        tokens = data.draw(st.sampled_from(self.batches), label="batch")
        self.run(self.put_off())
        batch = self.run(self.broker.next("c", size, ack=tokens))
        stale = self.expect(tokens)
        assert (batch.settled.acked, batch.settled.stale) == (len(tokens) - len(stale), stale)
        self.keep(batch)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), outcome=st.sampled_from(["retry", "release", "reject"]), delay=st.sampled_from([0, 60_000]))
    def nack(self, data: st.DataObject, outcome: Any, delay: int) -> None:
        """One message, which is given again or not."""
        token = self.live[data.draw(st.sampled_from(list(self.live)), label="message")]
        assert self.run(self.broker.nack("c", [Nack(token, delay, outcome)])).count == 1
        self.expect([token])

    @rule(size=st.integers(0, 3))
    def fetch_by_next(self, size: int) -> None:
        """The other way of fetching, which also gives what was nacked."""
        self.broker.deliveries._rounds_without_read["c"] = 1000
        self.keep(self.run(self.broker.next("c", size, min_batch=1)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        """Its delivery stays as it is."""
        tokens = data.draw(st.lists(st.sampled_from(list(self.live.values())), min_size=1, max_size=4, unique=True), label="tokens")
        assert self.run(self.broker.deliveries.extend("c", tokens)).count == len(tokens)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def plain_ack(self, data: st.DataObject) -> None:
        """A plain client acks what was given to a worker."""
        message_id = data.draw(st.sampled_from(list(self.live)), label="message")
        assert self.run(self.store.call("XACK", LOG, "c", message_id)) == 1
        del self.live[message_id]

    @precondition(lambda self: not self.keyed)
    @rule(ack=st.booleans())
    def plain_worker(self, ack: bool) -> None:
        """A plain client reads one, and may ack it: the rows are as many as before, or one more."""
        reply = self.run(self.store.call("XREADGROUP", "GROUP", "c", "plain", "COUNT", 1, "STREAMS", LOG, ">"))
        message_id = reply[0][1][0][0].decode()
        if ack:
            assert self.run(self.store.call("XACK", LOG, "c", message_id)) == 1
        self.run(self.store.call("HSET", CONSUMER, "synced_at", 0))
        self.keep(self.run(self.broker.next("c")))

    @rule()
    def begin_anew(self) -> None:
        """Tokens of before are stale."""
        self.run(self.broker.consumers.reset("c", "all"))
        self.live.clear()
        self.keep(self.run(self.broker.next("c")))

    @invariant()
    def what_is_out_is_what_the_model_says(self) -> None:
        """Message by message."""
        pending = self.run(self.store.call("XPENDING", LOG, "c", "-", "+", 5000, "http"))
        assert {row[0].decode() for row in pending} == set(self.live)


def test_acks_by_lease_are_as_acks_by_row(redis_server: Embedded) -> None:
    Leasing.url, Leasing.by_lease = redis_server.url, 0
    run_histories(Leasing, examples=60, steps=30)
    assert Leasing.by_lease > 100

