"""Indexes after random publishes, upserts, limits, times to live, changes of filters, and interrupted upkeep.

Once a filter's consumer is up to date, its index holds exactly the ids of the stream's matching messages that may still
be delivered. At no time does it count anything else.
"""

import asyncio
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker import Broker, Filters, Store, StreamSpec
from broker.consumers.filters import filter_id
from broker.store.embedded import Embedded
from tests.property.stream_model import order
from tests.support.clock import advance, shifted_scripts
from tests.support.machines import run_histories

VALUES = st.sampled_from(["a", "ab", "ab:c", "ab:cd", "b:c", "b:\0g", "b:"])
RESOURCES = st.sampled_from([None, "r", "rs", "s"])
PATTERNS = st.lists(st.sampled_from(["a", "a*", "ab:c", "ab*", "ab:c*", "b:*", "b:\0*", "r", "r*", "s", "b"]), min_size=1, max_size=4)
FILTERS = st.fixed_dictionaries({}, optional={"collection_id": PATTERNS, "resource_id": PATTERNS, "provider": PATTERNS}).filter(bool)
MESSAGES = st.lists(st.tuples(st.sampled_from("ijklmn"), VALUES, RESOURCES), min_size=1, max_size=8)
TTL = 1_000_000


def matches(filters: dict[str, list[str]], collection_id: str, resource_id: str | None) -> bool:
    """All keys, any pattern of a key."""
    values = {"collection_id": collection_id, "resource_id": resource_id, "provider": collection_id.partition(":")[0]}

    def one(value: str | None, pattern: str) -> bool:
        return value is not None and (value == pattern or (pattern[-1] == "*" and value.startswith(pattern[:-1])))

    return all(any(one(values[key], pattern) for pattern in patterns) for key, patterns in filters.items())


class Indexes(RuleBasedStateMachine):
    """One stream, records or events, and consumers with filters."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.log: dict[str, tuple[str, str, str | None]] = {}  # message id -> key, collection_id, resource_id
        self.lapsing: set[str] = set()
        self.over: set[str] = set()
        self.filters: dict[str, dict[str, list[str]]] = {}
        self.made = self.version = 0

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @initialize(kind=st.sampled_from(["records", "events"]), limit=st.sampled_from([None, 9]), work=st.sampled_from([1, 7, 30, 300]))
    def begin(self, kind: str, limit: int | None, work: int) -> None:
        """An empty stream, and scripts that do so much work of upkeep."""
        self.kind, self.limit = kind, limit if kind == "events" else None

        async def start() -> None:
            self.store = Store.from_url(self.url)
            await self.store.call("FLUSHALL")
            self.broker = Broker(Store.from_url(self.url), scripts=shifted_scripts(work=work))
            await self.broker.streams.create(StreamSpec(name="s", kind=kind, max_messages=self.limit, dedupe_window_ms=0))  # type: ignore[arg-type]

        self.run(start())

    def teardown(self) -> None:
        """Close what was opened."""
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.run(self.broker.close())
        self.runner.close()

    def add(self, message_id: str, key: str, collection_id: str, resource_id: str | None) -> None:
        if self.kind == "records":
            self.log = {i: row for i, row in self.log.items() if row[0] != key}
        self.log[message_id] = (key, collection_id, resource_id)
        while self.limit is not None and len(self.log) > self.limit:
            del self.log[next(iter(self.log))]

    @rule(messages=MESSAGES, ttl=st.booleans())
    def publish(self, messages: list[tuple[str, str, str | None]], ttl: bool) -> None:
        """Events, or versions of records; the last of a call stands."""
        rows = []
        for key, collection_id, resource_id in messages:
            self.version += 1
            row = {"collection_id": collection_id, "resource_id": resource_id, "data": self.version}
            rows.append(row | ({"id": key} if self.kind == "records" else {"ttl_ms": TTL} if ttl else {}))
        found = self.run(self.broker.publish("s", rows))
        last = {row.message_id: message for row, message in zip(found, messages, strict=True)}
        for message_id in sorted(last, key=order):
            self.add(message_id, *last[message_id])
            if self.kind == "events" and ttl:
                self.lapsing.add(message_id)

    @precondition(lambda self: self.kind == "events")
    @rule(messages=MESSAGES)
    def plain(self, messages: list[tuple[str, str, str | None]]) -> None:
        """A plain client publishes; the limits are applied when the broker next looks."""
        for key, collection_id, resource_id in messages:
            extra = ["resource_id", resource_id] if resource_id else []
            fields = ["collection_id", collection_id, "data", "1", *extra]
            self.add(self.run(self.store.call("XADD", "broker:{s}:log", "*", *fields)).decode(), key, collection_id, resource_id)

    @rule()
    def times_to_live_are_over(self) -> None:
        """What was to live so long is not delivered for the first time any more."""
        self.run(advance(self.store, TTL + 1))
        self.over |= self.lapsing
        self.lapsing = set()

    @precondition(lambda self: len(self.filters) < 6)
    @rule(filters=FILTERS)
    def create(self, filters: dict[str, list[str]]) -> None:
        """A consumer; it may be the first of its filter."""
        self.made += 1
        name = f"c{self.made}"
        self.run(self.store.call("HSET", "broker:consumers", name, "s"))
        spec = Filters(**filters)
        fields = {"ack_wait_ms": 30000, "max_deliver": -1, "max_ack_pending": 9, "max_waiting": 9, "backoff_ms": "", "ordering": "none",
                  "deliver_policy": "all", "filters": "{}", "metadata": "{}"}  # fmt: skip
        flat = [str(text) for field in fields.items() for text in field]
        engine = self.broker.streams._engine
        self.run(engine.run_ready("consumer_create", "s", name, "all", filter_id(spec.canonical()), spec.canonical(), *flat))
        self.filters[name] = filters

    @precondition(lambda self: self.filters)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """It may be the last one of its filter."""
        name = data.draw(st.sampled_from(sorted(self.filters)))
        self.run(self.broker.consumers.delete(name))
        del self.filters[name]

    @precondition(lambda self: self.filters)
    @rule(data=st.data(), steps=st.integers(1, 3))
    def some_steps(self, data: st.DataObject, steps: int) -> None:
        """Somebody asks, and does not ask again."""
        name = data.draw(st.sampled_from(sorted(self.filters)))
        for _ in range(steps):
            self.run(self.broker.streams._engine.run("consumer_info", "s", name))

    @precondition(lambda self: self.filters)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """The count is exact, and the index holds what it should and nothing else."""
        name = data.draw(st.sampled_from(sorted(self.filters)))
        wanted = [i for i, row in self.log.items() if i not in self.over and matches(self.filters[name], *row[1:])]
        info = self.run(self.broker.consumers.get(name)).info
        assert (info.num_pending, info.num_ack_pending) == (len(wanted), 0)
        canonical = Filters(**self.filters[name]).canonical()
        held = self.run(self.store.call("ZRANGE", f"broker:{{s}}:index:{filter_id(canonical)}", 0, -1))
        assert [_id(member.decode()) for member in held] == wanted

    @invariant()
    def nothing_is_left_of_filters_that_nobody_uses(self) -> None:
        """Nor of their patterns."""
        if hasattr(self, "store") and not self.filters:
            assert self.run(self.store.call("EXISTS", *(f"broker:{{s}}:{part}" for part in ("filters", "routes", "leaving")))) == 0


def _id(member: str) -> str:
    length = ord(member[0]) - 64
    return f"{member[1 : length + 1]}-{member[length + 2 :]}"


def test_indexes_hold_what_matches(redis_server: Embedded) -> None:
    Indexes.url = redis_server.url
    run_histories(Indexes, examples=150, steps=40)
