"""The world of a random history: streams, consumers, the calls of a broker with a movable clock, and time.

The clock steps back as well as forward.
"""

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from broker import Broker, Filters, Store
from broker.messages.times import microseconds
from tests.property.consumer_state import Delivered
from tests.property.model import ConsumerModel, Redrive
from tests.property.stream_model import StreamModel
from tests.support.clock import advance

# Steps of time are so long that the test's own time does not count. All that waits waits for so many times 100 s; what
# is over the hundreds in the steps keeps their sums off these, and makes up for what a step back costs: the clock is
# kept every 10 ms.
ACK_WAIT = 1_000_000
DEDUPE = 2_000_000
STEPS = (1_100, 400_200, 1_100_200)
STEPS_BACK = (300_010, 1_000_010, 1_000_000_010)
BEGINNING = 100_000_000_000  # ahead of the real clock, so that it stays ahead

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


class World(RuleBasedStateMachine):
    """The state of a history, and the world outside of the broker."""

    url = ""
    store: Store
    broker: Broker

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

    @rule(ms=st.sampled_from(STEPS))
    def pass_time(self, ms: int) -> None:
        """Deliveries grow older."""
        self.run(advance(self.store, ms))
        self.now += ms

    @rule(ms=st.sampled_from(STEPS_BACK))
    def step_back(self, ms: int) -> None:
        """Redis' clock steps back: nothing comes early, and what waits for a span waits for one more at most (C22)."""
        self.run(advance(self.store, -ms))
        self.now -= ms
        self.backs += 1

    @rule()
    def forget_scripts(self) -> None:
        """Redis forgets the scripts, as after a restart."""
        self.run(self.store.call("SCRIPT", "FLUSH"))
