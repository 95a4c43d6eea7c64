"""The read that follows a script: it gives what the script counted, and nothing where the script did not let it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import NoScriptError

from broker import Broker, Filters, Nack, Store, StreamSpec, keys
from broker.consumers.batches import Batch
from broker.errors import ConsumerNotFound, OutcomeUnknown, StoreUnavailable
from broker.messages.times import rfc3339
from broker.store.embedded import Embedded
from tests.conftest import Clock
from tests.contract.helpers import now_ms
from tests.support.clock import shifted_scripts
from tests.support.cutting import proxy
from tests.support.reading import begin, publish, read, used
from tests.support.servers import BACKENDS, running

pytestmark = pytest.mark.anyio

LOG, GATE = keys.log("events"), keys.gate("events", "c")
READ = ("XREADGROUP", "GROUP", "c", "http", "COUNT", 3, "STREAMS", LOG, GATE, ">", ">")


async def out(store: Store, stream: str = "events") -> int:
    return int((await store.call("XPENDING", keys.log(stream), "c"))[0])


async def test_messages_that_were_read_are_as_any_others(broker: Broker, store: Store) -> None:
    await begin(broker)
    first, second = await broker.next("c", 4), await broker.next("c", 4)
    assert used(broker)
    assert [d.deliver_count for d in (*first.deliveries, *second.deliveries)] == [1] * 8
    assert (second.num_pending, second.num_ack_pending, second.due_in_ms) == (2, 8, None)
    assert await store.call("EXISTS", GATE) == 0
    settled = await broker.ack("c", [d.ack_token for d in first.deliveries])
    assert (settled.count, settled.stale) == (4, [])
    third = await broker.next("c", 4, ack=[second.deliveries[0].ack_token, first.deliveries[0].ack_token])
    assert used(broker)
    assert (third.settled.acked, third.settled.stale) == (1, [first.deliveries[0].ack_token])
    assert (len(third.deliveries), third.num_pending, third.num_ack_pending) == (2, 0, 5)
    ids = [d.id for d in (*first.deliveries, *second.deliveries, *third.deliveries)]
    assert ids == [message.id for message in (await broker.streams.messages("events"))[0]]


async def test_records_are_read_too(broker: Broker) -> None:
    await begin(broker, stream="records")
    await broker.publish("records", [{"collection_id": "a:b", "upstream_id": "4", "data": "new"}])
    first, second = await broker.next("c", 6), await broker.next("c", 6)
    assert used(broker)
    assert [b'"data":"new"' in d.json for d in (*first.deliveries, *second.deliveries)] == [False] * 9 + [True]
    assert (second.num_pending, second.num_ack_pending) == (0, 10)


async def pause(broker: Broker, store: Store) -> None:
    await broker.consumers.pause("c")


async def retry(broker: Broker, store: Store) -> None:
    await broker.nack("c", [Nack((await broker.next("c")).deliveries[0].ack_token)])


async def fill(broker: Broker, store: Store) -> None:
    await broker.next("c", 8)


async def lapse(broker: Broker, store: Store) -> None:
    await broker.publish("events", [{"collection_id": "a:b", "data": 0, "ttl_ms": 1}])
    await asyncio.sleep(0.002)


async def delay(broker: Broker, store: Store) -> None:
    await broker.publish("events", [{"collection_id": "a:b", "data": 0, "deliver_at": "2999-01-01T00:00:00Z"}])
    await store.call("ZADD", keys.stream("events") + ":delayed", 1, "000000000000001")


async def add_plainly(broker: Broker, store: Store) -> None:
    await store.call("XADD", LOG, "*", "collection_id", "a:b", "data", "1")


async def trim(broker: Broker, store: Store) -> None:
    await store.call("HSET", keys.stream("events"), "max_messages", 9)


async def age(broker: Broker, store: Store) -> None:
    await asyncio.sleep(0.01)
    await store.call("HSET", keys.stream("events"), "max_age_ms", 1)


@pytest.mark.parametrize("change", [pause, retry, fill, lapse, delay, add_plainly, trim, age])
async def test_where_there_is_more_to_do_nothing_is_read_or_settled(
    broker: Broker, store: Store, change: Callable[[Broker, Store], Awaitable[None]]
) -> None:
    await begin(broker, max_ack_pending=10)
    held = (await broker.next("c")).deliveries[0].ack_token
    await change(broker, store)
    before = await out(store)
    assert (await read(broker, 3, held))[0] == 1
    assert (await out(store), await store.call("EXISTS", GATE)) == (before, 0)
    assert (await broker.ack("c", [held])).count == 1


async def test_plain_entries_that_the_consumer_has_passed_are_not_in_the_way(broker: Broker, store: Store) -> None:
    await begin(broker, 1)
    await add_plainly(broker, store)
    await publish(broker, 4)
    assert (await read(broker))[0] == 1
    assert len((await broker.next("c", 2)).deliveries) == 2
    reply = await read(broker, 3)
    assert (reply[0], reply[2], reply[3]) == (0, 1, 5)


async def test_delayed_events_that_come_due_at_once_beside_a_publish_are_not_in_the_way(broker: Broker, store: Store, clock: Clock) -> None:
    """More of them than a script appends: none is left without a number."""
    await begin(broker, 0)
    due = rfc3339(await now_ms(store) + 1000)
    for _ in range(2):
        await broker.publish("events", [{"collection_id": "a:b", "data": 1, "deliver_at": due}] * 300)
    await clock.advance(2000)
    await publish(broker, 1)
    assert await store.call("EXISTS", "broker:{events}:plain") == 0
    batch = await broker.next("c", 500)
    assert (len(batch.deliveries), batch.num_pending) == (500, 101)
    reply = await read(broker, 3)
    assert (reply[0], reply[2], reply[3]) == (0, 98, 503)


async def test_an_expired_delivery_comes_before_what_could_be_read(broker: Broker, store: Store, clock: Clock) -> None:
    await begin(broker)
    [first] = (await broker.next("c")).deliveries
    await clock.advance(60_000)
    assert (await read(broker))[0] == 3
    again = (await broker.next("c", 2)).deliveries
    assert [(d.id == first.id, d.deliver_count) for d in again] == [(True, 2), (False, 1)]


async def test_upkeep_that_is_due_each_time_does_not_cost_a_read_each_time(broker: Broker, store: Store) -> None:
    await begin(broker)
    tried = []
    for _ in range(12):
        await store.call("HSET", keys.stream("events") + ":consumer:c", "sweep_at", 0)
        await store.call("CONFIG", "RESETSTAT")
        await broker.next("c", 0)
        await broker.next("c")
        tried.append(b"cmdstat_multi" in await store.call("INFO", "commandstats"))
    assert tried == [True, True, *[False] * 8, True, True]


@pytest.mark.parametrize("fields", [{"filters": Filters(provider="a")}, {"ordering": "key", "stream": "records"}])
async def test_some_consumers_are_never_read_and_asked_once(broker: Broker, store: Store, fields: dict[str, Any]) -> None:
    await begin(broker, **fields)
    assert (await read(broker))[0] == 2
    assert len((await broker.next("c", 3)).deliveries) == 3
    assert broker.deliveries._fast_read._rounds["c"] > 1000


async def test_a_read_that_no_script_let_pass_gives_nothing(broker: Broker, store: Store) -> None:
    await begin(broker)
    await broker.next("c", 2)
    await store.call("SCRIPT", "FLUSH")
    for command in (("MULTI",), ("EVALSHA", "0" * 40, 1, keys.stream("events"), "c", 3, 0), READ, ("DEL", GATE)):
        await store.call(*command)
    unknown, refused, _ = await store.call("EXEC")
    assert isinstance(unknown, NoScriptError)
    assert str(refused).startswith("NOGROUP")
    assert await out(store) == 2


async def test_forgotten_scripts_are_loaded_and_nothing_is_given_twice(broker: Broker, store: Store) -> None:
    await begin(broker)
    await broker.next("c", 2)
    await store.call("SCRIPT", "FLUSH")
    batch = await broker.next("c", 3)
    assert used(broker)
    assert (len(batch.deliveries), batch.num_pending, batch.num_ack_pending, await out(store)) == (3, 5, 5, 5)


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_connection_lost_in_between_leaves_right_counts(redis_server: Embedded, store: Store, deliver: bool) -> None:
    async with proxy(redis_server.socket) as (between, url), Broker(Store.from_url(url), scripts=shifted_scripts()) as broker:
        await begin(broker)
        await broker.next("c", 2)
        between.cut_at(b"XREADGROUP", deliver=deliver)
        with pytest.raises(OutcomeUnknown):
            await broker.next("c", 3)
        info = (await broker.consumers.get("c")).info
        gone = 5 if deliver else 2
        assert (info.num_pending, info.num_ack_pending, await out(store)) == (10 - gone, gone, gone)
        assert await store.call("EXISTS", GATE) == 0
        batch = await broker.next("c", 9)
        assert (len(batch.deliveries), batch.num_pending) == (10 - gone, 0)


async def test_what_a_plain_client_has_read_in_between(broker: Broker, store: Store, clock: Clock) -> None:
    await begin(broker)
    await broker.next("c", 2)
    await store.call("XREADGROUP", "GROUP", "c", "plain", "COUNT", 7, "STREAMS", LOG, ">")
    [last] = (await broker.next("c", 4)).deliveries
    none = await broker.next("c", 4)
    assert (len(none.deliveries), none.num_pending, none.num_ack_pending) == (0, 0, 10)
    await clock.advance(1100)
    right = await broker.next("c", 4)
    assert (len(right.deliveries), right.num_pending, right.num_ack_pending) == (0, 0, 10)
    assert (await broker.ack("c", [last.ack_token])).count == 1


async def test_a_token_is_stale_once_a_plain_client_has_claimed_its_message(broker: Broker, store: Store) -> None:
    await begin(broker)
    taken, kept = (await broker.next("c", 2)).deliveries
    await store.call("XCLAIM", LOG, "c", "plain", 0, taken.id)
    settled = await broker.ack("c", [taken.ack_token, kept.ack_token])
    assert (settled.count, settled.stale, await out(store)) == (1, [taken.ack_token], 1)


async def test_reset_and_deletion_leave_no_rows(broker: Broker, store: Store) -> None:
    await begin(broker)
    old = (await broker.next("c", 4)).deliveries
    await broker.consumers.reset("c", "all")
    assert (await broker.consumers.get("c")).info.num_pending == 10
    again: list[Batch] = [await broker.next("c", 1) for _ in range(10)]
    assert [batch.deliveries[0].id for batch in again][:4] == [d.id for d in old]
    assert (await broker.ack("c", [d.ack_token for d in old])).count == 0
    await broker.consumers.delete("c")
    assert [key for key in await store.call("KEYS", "broker:{*") if key.endswith(b":c")] == []


async def test_limits_that_take_what_was_never_delivered(broker: Broker) -> None:
    await broker.streams.create(StreamSpec(name="short", kind="events", max_messages=6))
    await begin(broker, count=6, stream="short")
    assert (await broker.next("c", 1)).num_pending == 5
    await publish(broker, 4, "short")
    batch = await broker.next("c", 2)
    assert used(broker)
    assert (batch.num_pending, batch.num_ack_pending) == (4, 3)
    rest = await broker.next("c", 9)
    assert ([d.deliver_count for d in rest.deliveries], rest.num_pending) == ([1] * 4, 0)


async def test_a_group_that_is_gone_is_no_consumer(broker: Broker, store: Store) -> None:
    await begin(broker)
    await broker.next("c", 2)
    await store.call("XGROUP", "DESTROY", LOG, "c")
    with pytest.raises(ConsumerNotFound):
        await broker.next("c", 2)


async def test_a_command_that_is_refused_tells_why(redis_server: Embedded, store: Store) -> None:
    await store.call("ACL", "SETUSER", "meek", "on", ">secret", "~*", "+@all", "-xreadgroup")
    meek = Store.from_url(redis_server.url.replace("unix://", "unix://meek:secret@"))
    async with Broker(meek, scripts=shifted_scripts()) as broker:
        await begin(broker)
        with pytest.raises(StoreUnavailable):
            await broker.next("c", 2)
        assert await store.call("EXISTS", GATE) == 0
    await store.call("ACL", "DELUSER", "meek")


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_redis_at_its_memory_limit_still_gives(backend: str) -> None:
    with running(backend) as server:
        async with Broker(Store.from_url(server.url), scripts=shifted_scripts()) as broker:
            await begin(broker)
            await broker.store.call("CONFIG", "SET", "maxmemory", 1)
            batch = await broker.next("c", 4)
            assert (len(batch.deliveries), batch.num_pending) == (4, 6)
