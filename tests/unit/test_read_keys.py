"""The read that follows a script, for consumers with order by key: by the keys that lie beside the log, where all are known and free."""

import pytest

from broker import Broker, ConsumerSpec, Store, StreamSpec, keys
from tests.conftest import Clock
from tests.support.reading import begin, publish, read, used

pytestmark = pytest.mark.anyio


async def begin_keyed(broker: Broker, *event_keys: str, stream: str = "events") -> None:
    """As `begin`, with order by key, and events of these keys."""
    await begin(broker, 0, stream, ordering="key")
    if event_keys:
        await broker.publish(stream, [{"collection_id": "a:b", "key": key, "data": n} for n, key in enumerate(event_keys)])


async def test_distinct_keys_are_read(broker: Broker, store: Store) -> None:
    await begin_keyed(broker, *(f"k{n}" for n in range(250)))
    await broker.publish("events", [{"collection_id": "a:b", "data": 250}])
    await broker.publish("events", [{"collection_id": "a:b", "upstream_id": "k1", "data": 251}])
    first, second = await broker.next("c", 130), await broker.next("c", 100)
    assert used(broker)
    assert (second.num_pending, second.num_ack_pending) == (22, 230)
    assert await store.call("SCARD", keys.stream("events") + ":busy:c") == 230
    await broker.ack("c", [d.ack_token for d in first.deliveries])
    assert await store.call("SCARD", keys.stream("events") + ":busy:c") == 100
    third = await broker.next("c", 100)
    assert used(broker)
    assert [d.id for batch in (first, second, third) for d in batch.deliveries] == await ids(broker)
    for batch in (second, third):
        await broker.ack("c", [d.ack_token for d in batch.deliveries])
    assert [key for key in await store.call("KEYS", "broker:{events}:*:c") if not key.endswith(b"consumer:c")] == []


async def ids(broker: Broker) -> list[str]:
    return [message.id for message in (await broker.streams.messages("events", limit=1000))[0]]


@pytest.mark.parametrize("second", [["a", "b"], ["c", "d", "c"]])
async def test_a_busy_key_and_one_that_comes_twice_are_left_to_next(broker: Broker, store: Store, second: list[str]) -> None:
    await begin_keyed(broker, "a", *second)
    await broker.next("c")
    assert used(broker)
    assert (await read(broker))[0] == 1
    assert await store.call("SMEMBERS", keys.stream("events") + ":busy:c") == [b"a"]
    assert await store.call("HVALS", keys.stream("events") + ":held:c") == [b"a"]
    found = (await broker.next("c", 3)).deliveries
    assert [d.id for d in found] == [(await ids(broker))[n] for n in ((2,) if second == ["a", "b"] else (1, 2))]


async def test_settling_that_may_release_a_key_is_left_to_next(broker: Broker) -> None:
    await begin_keyed(broker, "a", "a", "b")
    [held] = (await broker.next("c")).deliveries
    assert len((await broker.next("c")).deliveries) == 1
    await broker.publish("events", [{"collection_id": "a:b", "key": "z", "data": 0}])
    assert (await read(broker, 1, held.ack_token))[0] == 1
    released = (await broker.next("c", 1, ack=[held.ack_token])).deliveries
    assert [d.id for d in released] == [(await ids(broker))[1]]


async def test_keys_that_are_not_known_are_found_in_the_messages(broker: Broker, store: Store) -> None:
    await publish(broker, 3)
    await begin_keyed(broker, "x", "two\nlines", "y")
    assert (await read(broker))[0] == 1
    assert len((await broker.next("c", 3)).deliveries) == 3
    broker.deliveries._fast_read._rounds.clear()
    assert len((await broker.next("c", 3)).deliveries) == 3
    assert used(broker)
    assert set(await store.call("HVALS", keys.stream("events") + ":held:c")) == {b"0", b"1", b"2", b"x", b"two\nlines", b"y"}


async def test_keys_are_kept_while_a_consumer_needs_them_and_as_long_as_their_events(broker: Broker, store: Store) -> None:
    beside = keys.stream("short") + ":keys"
    await broker.streams.create(StreamSpec(name="short", kind="events", max_messages=5))
    await publish(broker, 2, "short")
    assert await store.call("EXISTS", beside) == 0
    await begin_keyed(broker, "a", "b", stream="short")
    await broker.consumers.create(ConsumerSpec(name="other", stream_id="short", ordering="key"))
    await publish(broker, 4, "short")
    assert [key for key, _ in await store.call("XRANGE", beside, "-", "+")] == [b"4-2", b"8-4"]
    await publish(broker, 1, "short")
    assert [key for key, _ in await store.call("XRANGE", beside, "-", "+")] == [b"8-4", b"9-1"]
    batch = await broker.next("c", 4)
    assert used(broker)
    assert (len(batch.deliveries), batch.num_pending) == (4, 1)
    await broker.consumers.delete("other")
    assert await store.call("EXISTS", beside) == 1
    await broker.consumers.delete("c")
    assert await store.call("EXISTS", beside) == 0
    assert await store.call("HGET", keys.stream("short"), "keyed") is None


async def test_delayed_events_have_their_keys_too(broker: Broker, store: Store, clock: Clock) -> None:
    await begin_keyed(broker)
    await broker.publish("events", [{"collection_id": "a:b", "key": "late", "data": 0, "deliver_at": "2999-01-01T00:00:00Z"}])
    await store.call("ZADD", keys.stream("events") + ":delayed", 1, "000000000000001")
    await broker.publish("events", [{"collection_id": "a:b", "key": "now", "data": 0}])
    assert [key for key, _ in await store.call("XRANGE", keys.stream("events") + ":keys", "-", "+")] == [b"1-1", b"2-1"]
    await broker.next("c", 2)
    assert used(broker)
    assert set(await store.call("HVALS", keys.stream("events") + ":held:c")) == {b"late", b"now"}


async def test_after_a_reset_the_next_keys_are_looked_for_at_the_new_place(broker: Broker, store: Store) -> None:
    await begin_keyed(broker, "a", "b", "c")
    await broker.next("c", 2)
    assert used(broker)
    await broker.consumers.reset("c", "new")
    await store.call("HSET", keys.stream("events") + ":consumer:c", "sweep_at", 2**43)
    assert (await read(broker))[0] == 3
    await broker.publish("events", [{"collection_id": "a:b", "key": "d", "data": 3}])
    assert [d.id for d in (await broker.next("c", 9)).deliveries] == (await ids(broker))[3:]
    assert await store.call("HVALS", keys.stream("events") + ":held:c") == [b"d"]
