"""Names that several servers create and delete at a time: each has one owner, and what exists is listed (C9, C46)."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable

import pytest

from broker import Broker, ConsumerSpec, Store, StreamSpec
from broker.errors import BrokerError
from tests.support.clock import shifted_scripts

pytestmark = pytest.mark.anyio

STREAMS = ("s", "t")
ROUNDS = 40


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
    assert [await answer(brokers[0].streams.delete(s)) for s in STREAMS if s not in {stream} or not there] == ["ok"] * (1 if there else 2)


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
