"""Names that several servers create and delete at a time: each has one owner, and what exists is listed (C9, C46)."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import pytest

from broker import Broker, ConsumerSpec, Store, StreamSpec, keys
from broker.commands.engine import Engine
from broker.commands.registry import Registry, Taken, of_consumers, of_streams
from broker.errors import BrokerError
from tests.support.clock import shifted_scripts

pytestmark = pytest.mark.anyio

STREAMS = ("s", "t")
ROUNDS = 40
# Of a consumer that is created by its script alone.
FIELDS = (
    "ack_wait_ms", 30_000, "max_deliver", -1, "max_ack_pending", 1000, "max_waiting", 512, "deliver_policy", "all", "ordering", "none",
    "backoff_ms", "", "metadata", "{}", "filters", "{}",
)  # fmt: skip


@pytest.fixture
async def brokers(broker: Broker, empty_url: str, clustered: bool) -> AsyncIterator[list[Broker]]:
    """Two servers over one Redis, with two streams."""
    async with Broker(Store.from_url(empty_url), scripts=shifted_scripts(clustered)) as other:
        for name in STREAMS:
            await broker.streams.create(StreamSpec(name=name, kind="events"))
        yield [broker, other]


async def answer(call: Awaitable[object]) -> str:
    """`ok`, or the code of the refusal."""
    try:
        await call
    except BrokerError as exc:
        return exc.code
    return "ok"


async def consumers_of(broker: Broker, store: Store) -> dict[str, str]:
    """What the list shows, after a look that the streams hold nothing else."""
    page, _ = await broker.consumers.page(limit=1000)
    listed = {consumer.id: consumer.stream_id for consumer in page}
    held = {(name.decode(), s) for s in STREAMS for name in await store.call("SMEMBERS", f"broker:{{{s}}}:consumers")}
    assert held == set(listed.items())
    return listed


async def test_c9_of_two_creates_on_two_streams_one_is_a_conflict(brokers: list[Broker], store: Store) -> None:
    for n in range(ROUNDS):
        specs = [ConsumerSpec(name=f"c{n}", stream_id=stream) for stream in STREAMS]
        answers = [answer(broker.consumers.create(spec)) for broker, spec in zip(brokers, specs, strict=True)]
        random.shuffle(answers)
        assert sorted(await asyncio.gather(*answers)) == ["CONSUMER_EXISTS", "ok"]
    assert len(await consumers_of(brokers[1], store)) == ROUNDS


@pytest.mark.parametrize("stream", STREAMS)
async def test_c11_a_create_beside_a_delete_is_as_before_or_after_it(brokers: list[Broker], store: Store, stream: str) -> None:
    there = set()
    for n in range(ROUNDS):
        name, creator, deleter = f"c{n}", random.choice(brokers), random.choice(brokers)
        await creator.consumers.create(ConsumerSpec(name=name, stream_id="s"))
        spec = ConsumerSpec(name=name, stream_id=stream)
        created, deleted = await asyncio.gather(answer(creator.consumers.create(spec)), answer(deleter.consumers.delete(name)))
        assert (created, deleted) in {("ok", "ok"), ("CONSUMER_EXISTS", "ok")}
        listed = await consumers_of(random.choice(brokers), store)
        assert listed.get(name) in (None, stream)
        if name in listed:
            assert await answer(random.choice(brokers).consumers.get(name)) == "ok"
            there.add(name)
    assert await consumers_of(brokers[0], store) == dict.fromkeys(there, stream)
    empty = [s for s in STREAMS if s != stream or not there]
    assert [await answer(brokers[0].streams.delete(s)) for s in empty] == ["ok"] * len(empty)


async def test_c46_whatever_is_created_and_deleted_at_once_is_listed_if_it_exists(brokers: list[Broker], store: Store) -> None:
    def change() -> Awaitable[object]:
        broker, name = random.choice(brokers), random.choice(("c", "d"))
        if random.random() < 0.5:
            return broker.consumers.delete(name)
        return broker.consumers.create(ConsumerSpec(name=name, stream_id=random.choice(STREAMS)))

    for _ in range(ROUNDS):
        answers = await asyncio.gather(*(answer(change()) for _ in range(5)))
        assert set(answers) <= {"ok", "CONSUMER_EXISTS", "CONSUMER_NOT_FOUND"}
        await consumers_of(random.choice(brokers), store)


async def test_c11_a_stream_that_is_created_beside_its_delete_is_listed(brokers: list[Broker], store: Store) -> None:
    for n in range(ROUNDS):
        creator, deleter = random.sample(brokers, 2)
        name = f"s{n}"
        await creator.streams.create(StreamSpec(name=name, kind="events"))
        await creator.consumers.create(ConsumerSpec(name=f"c{n}", stream_id=name))
        spec = StreamSpec(name=name, kind="records" if n % 2 else "events")
        created, deleted = await asyncio.gather(
            answer(creator.streams.create(spec)), answer(deleter.streams.delete(name, force=True)),
        )  # fmt: skip
        assert (created, deleted) in {("ok", "ok"), ("STREAM_EXISTS", "ok")}
        page, _ = await random.choice(brokers).streams.page(limit=1000)
        exists = await store.call("EXISTS", f"broker:{{{name}}}") == 1
        assert (name in {stream.id for stream in page}) == exists
    assert (await brokers[0].consumers.page())[0] == []


def looking(broker: Broker, key: str, meanwhile: Callable[[], Awaitable[object]]) -> Registry:
    """A registry that finds nothing at its first look, during which something else happens."""
    real, left = (of_consumers if key == keys.CONSUMERS else of_streams)(broker._engine), [meanwhile]

    async def exist(value: str, names: Sequence[str]) -> Sequence[bool]:
        if left:
            await left.pop()()
            return [False] * len(names)
        return await real._exist(value, names)

    return Registry(broker._engine, key, exist)


async def test_a_row_is_not_removed_that_was_set_meanwhile(brokers: list[Broker], store: Store) -> None:
    one, other = brokers
    await one.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    await one._engine.run("consumer_delete", "s", "c")
    registry = looking(one, keys.CONSUMERS, lambda: other.consumers.create(ConsumerSpec(name="c", stream_id="t")))
    await registry.release(["c"], "s")
    assert await consumers_of(one, store) == {"c": "t"}


async def test_a_row_is_not_taken_over_that_was_confirmed_meanwhile(brokers: list[Broker], store: Store) -> None:
    one, other = brokers
    await of_consumers(one._engine).claim("c", "t")
    registry = looking(one, keys.CONSUMERS, lambda: other.consumers.create(ConsumerSpec(name="c", stream_id="t")))
    with pytest.raises(Taken):
        await registry.claim("c", "s")
    assert await consumers_of(one, store) == {"c": "t"}


async def test_the_row_of_a_stream_that_was_created_again_stays(brokers: list[Broker]) -> None:
    one, other = brokers
    await one._engine.run("stream_delete", "s", "")
    registry = looking(one, keys.STREAMS, lambda: other.streams.create(StreamSpec(name="s", kind="records")))
    await registry.release(["s"], "")
    assert "s" in {stream.id for stream in (await one.streams.page())[0]}


async def test_a_creator_that_dies_before_it_confirms_is_found_by_who_removes_its_row(brokers: list[Broker], store: Store) -> None:
    one, other = brokers
    await one.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    await one._engine.run("consumer_delete", "s", "c")
    create = partial(other._engine.run_ready, "consumer_create", "s", "c", "all", "", "", *FIELDS)
    await looking(one, keys.CONSUMERS, create).release(["c"], "s")
    assert await consumers_of(one, store) == {"c": "s"}


async def test_a_consumer_without_a_row_is_named_or_ended_by_the_deletion_of_its_stream(brokers: list[Broker], store: Store) -> None:
    broker = brokers[0]
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    for name in ("c", "d"):  # as if their creators had died
        await broker._engine.run_ready("consumer_create", "t", name, "all", "", "", *FIELDS)
    assert await answer(broker.streams.delete("t")) == "STREAM_IN_USE"
    assert await consumers_of(broker, store) == {"c": "s", "d": "t"}
    await broker.consumers.delete("d")
    await broker._engine.run_ready("consumer_create", "t", "c", "all", "", "", *FIELDS)
    assert await answer(broker.streams.delete("t")) == "ok"
    assert await answer(broker.consumers.get("c")) == "ok"


async def test_a_consumer_is_deleted_in_the_life_that_is_meant(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    assert await answer(broker._engine.run("consumer_delete", "events", "c", "0" * 16)) == "CONSUMER_NOT_FOUND"
    assert await answer(broker.consumers.get("c")) == "ok"


async def test_c24_a_consumer_that_is_created_again_for_its_answer_begins_a_new_life(
    brokers: list[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = brokers
    await one.publish("s", [{"collection_id": "a:b", "data": 1}])
    before: list[str] = []
    changed = one.consumers._changed

    async def deleted_first(name: str, *, exact: bool = True) -> object:
        if not before:
            before.append((await other.next(name)).deliveries[0].ack_token)
            await other.consumers.delete(name)
        return await changed(name, exact=exact)

    monkeypatch.setattr(one.consumers, "_changed", deleted_first)
    assert (await one.consumers.create(ConsumerSpec(name="c", stream_id="s")))[1]
    [delivery] = (await one.next("c")).deliveries
    assert delivery.ack_token != before[0]
    assert (await one.ack("c", before)).stale == before
    assert (await one.ack("c", [delivery.ack_token])).count == 1


@pytest.mark.parametrize("of", [of_streams, of_consumers])
async def test_whoever_read_a_row_before_a_create_cannot_change_it(brokers: list[Broker], of: Callable[[Engine], Registry]) -> None:
    one, other = brokers
    await one.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    registry, name = of(one._engine), "t" if of is of_streams else "c"
    [row] = await registry._read([name])
    if of is of_streams:
        await one._engine.run("stream_delete", "t", "")
        await other.streams.create(StreamSpec(name="t", kind="events"))
    else:
        await one._engine.run("consumer_delete", "s", "c")
        await other.consumers.create(ConsumerSpec(name="c", stream_id="s"))
    assert await registry._run("remove", name, row.version) == 0
    assert not await registry._write(name, "x", row)
    [row] = await registry._read([name])
    assert await registry._run("remove", name, row.version, "nobody", "") == 1
