"""Random calls of many workers, held against the model: every answer, every count, every token (C12-C44).

The clock steps back as well as forward. A test run makes the same 4,000 steps or so each time, on each server;
BROKER_TEST_STEPS=100000 makes so many on each, and new ones.
"""

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from broker import Broker, Store, StreamSpec
from broker.store.embedded import Embedded
from tests.property.consumer_rules import Consumers
from tests.property.stream_model import StreamModel
from tests.property.world import BEGINNING, CONSUMERS, STREAMS
from tests.support.clock import advance, shifted_scripts
from tests.support.machines import run_histories


class Eager(dict[str, int]):
    """Remembers no round without `read`, so that it is tried at each."""

    def __setitem__(self, consumer: str, rounds: int) -> None:
        """Not kept."""


class Machine(Consumers):
    """Publishers, workers over HTTP-like calls, plain Redis clients, and time."""

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


def test_random_histories_agree_with_the_model(redis_server: Embedded) -> None:
    Machine.url = redis_server.url
    run_histories(Machine, examples=80, steps=60)
