"""The library of functions on real servers: what it holds, who may call it, and what it does in a full Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import quote

import pytest
import redis

from broker import Broker, ConsumerSpec, Delivery, Nack, Store, StreamSpec
from broker.commands.functions import LIBRARY, digest_of, function_name, library, load, loaded, same
from broker.commands.scripts import names
from broker.errors import BrokerError, StoreFault, StoreFull, StoreUnavailable
from broker.messages.times import rfc3339
from broker.store.embedded import Embedded
from tests.contract.helpers import now_ms
from tests.support.functions import broker_by_functions, load_library
from tests.support.page import lines
from tests.support.servers import BACKENDS, running

pytestmark = pytest.mark.anyio
EVENT = {"collection_id": "a:b", "data": 1}


@pytest.fixture(scope="module", params=BACKENDS)
def server(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A server with the library that users get."""
    with running(request.param) as server:
        load_library(server.url)
        yield server


@pytest.fixture
async def store(server: Embedded) -> AsyncIterator[Store]:
    """An empty store, by the default user."""
    store = Store.from_url(server.url)
    await store.call("FLUSHALL")
    yield store
    await store.close()


@pytest.fixture
async def broker(server: Embedded, store: Store) -> AsyncIterator[Broker]:
    """A broker over functions, with the stream `demo` and its consumer `w`."""
    async with broker_by_functions(server.url) as broker:
        await broker.streams.create(StreamSpec(name="demo", kind="events"))
        await broker.streams.create(StreamSpec(name="other", kind="events"))
        await broker.consumers.create(ConsumerSpec(name="w", stream_id="demo", ordering="key", max_deliver=2))
        await broker.consumers.create(ConsumerSpec(name="o", stream_id="other"))
        yield broker


async def test_it_has_a_function_for_every_command(store: Store) -> None:
    (row,) = await store.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY)
    functions = dict(zip(row[::2], row[1::2], strict=True))[b"functions"]
    assert {function[1].decode() for function in functions} == {function_name(command) for command in names()}


async def test_a_broker_over_functions_runs_no_script(broker: Broker, store: Store) -> None:
    await store.call("CONFIG", "RESETSTAT")
    await broker.publish("demo", [EVENT])
    (delivery,) = (await broker.next("w", wait_ms=1000)).deliveries
    assert (await broker.ack("w", [delivery.ack_token])).count == 1
    commands = (await store.call("INFO", "commandstats")).decode()
    assert "cmdstat_fcall:calls=4," in commands  # publish, read, next, ack
    assert "cmdstat_eval" not in commands


async def test_tokens_of_several_groups_are_counted_on(broker: Broker, store: Store) -> None:
    await broker.publish("events", [{"collection_id": "a:b", "data": n} for n in range(2)])
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    one, two = (await broker.next("c", 2)).deliveries
    epoch = one.ack_token.rpartition(".")[2]
    live, stale = (epoch, 1, f'["{one.id}", "{two.id}"]'), (epoch, 7, f'["{one.id}"]')

    reply = await store.call("FCALL", function_name("ack"), 1, "broker:{events}", "c", 2, *live, *stale)

    assert reply == [2, 3], "two were acked, and the third token is stale"


async def test_what_is_loaded_is_told_apart(server: Embedded) -> None:
    store = Store.from_url(server.url)
    try:
        assert await load(store) == digest_of(library())
        [there] = await loaded(store)
        assert there is not None and same(there) and same(there.rstrip("\n"))
        load_library(server.url, library("-- another\n"))
        [there] = await loaded(store)
        assert there is not None and not same(there)
        await store.call("FUNCTION", "DELETE", LIBRARY)
        assert await loaded(store) == [None]
        with pytest.raises(StoreFault):
            await store.call("FCALL", function_name("stream_info"), 1, "broker:{demo}")
    finally:
        await store.close()
        load_library(server.url)


async def test_calls_in_flight_while_it_is_loaded_again_are_answered(broker: Broker, store: Store) -> None:
    async def reload() -> None:
        for _ in range(20):
            await load(store)

    async def publish() -> int:
        return sum([len(await broker.publish("demo", [EVENT])) for _ in range(50)])

    published, _ = await asyncio.gather(publish(), reload())
    assert published == (await broker.streams.get("demo")).info.messages == 50


async def test_a_full_redis_takes_no_messages_but_lets_workers_go_on(broker: Broker, store: Store) -> None:
    await broker.publish("demo", [EVENT] * 4)
    await store.call("CONFIG", "SET", "maxmemory", "1mb")
    try:
        with pytest.raises(StoreFull):
            await broker.publish("demo", [EVENT])
        with pytest.raises(StoreFull):
            await broker.streams.create(StreamSpec(name="more", kind="events"))
        one, two, three = (await broker.next("w", 3)).deliveries
        assert (await broker.ack("w", [one.ack_token])).count == 1
        settled = await broker.nack("w", [Nack(two.ack_token, 0), Nack(three.ack_token, outcome="reject", reason="bad")])
        assert settled.count == 2
        assert [row.deliver_count for row in (await broker.next("w", 9)).deliveries] == [2, 1]
        info = (await broker.consumers.get("w")).info
        assert info is not None and (info.num_pending, info.num_ack_pending, info.num_dead) == (0, 2, 1)
    finally:
        await store.call("CONFIG", "SET", "maxmemory", "0")


async def state(store: Store) -> dict[bytes, bytes]:
    """All that Redis holds."""
    return {key: await store.call("DUMP", key) for key in sorted(await store.call("KEYS", "*"))}


class Users:
    """The users of the page's ACL lines, each with a broker of its own."""

    def __init__(self, server: Embedded) -> None:
        with redis.Redis.from_url(server.url) as client:
            for line in lines("ACL"):
                client.execute_command(*line.arguments({}))
        url = server.url.removeprefix("unix://")
        self.publisher, self.worker = (broker_by_functions(f"unix://{user}:password@{quote(url)}") for user in ("publisher", "worker"))

    async def close(self) -> None:
        await self.publisher.close()
        await self.worker.close()


@pytest.fixture
async def users(server: Embedded, broker: Broker) -> AsyncIterator[Users]:
    """A publisher and a worker of the stream `demo`."""
    users = Users(server)
    yield users
    await users.close()


async def test_the_publisher_publishes(users: Users, broker: Broker) -> None:
    await broker.store.call("XADD", "broker:{demo}:log", "*", "collection_id", "a:b", "data", "0")  # publishing takes note of it
    late = EVENT | {"id": "2", "deliver_at": "2099-01-01T00:00:00Z", "ttl_ms": 9}
    messages = [EVENT | {"id": "1", "key": "k"}, EVENT | {"id": "1"}, late]
    published = await users.publisher.publish("demo", messages)
    assert [row.status for row in published] == ["created", "duplicate", "created"]
    assert (await broker.streams.get("demo")).info.messages == 2


async def test_the_publisher_publishes_records(server: Embedded, broker: Broker) -> None:
    await broker.streams.delete("demo", force=True)
    await broker.streams.create(StreamSpec(name="demo", kind="records"))
    await broker.consumers.create(ConsumerSpec(name="w", stream_id="demo", ordering="key"))
    users = Users(server)
    try:
        for version, status in enumerate((b"created", b"updated", b"updated")):
            row = ("r", "a:b", "", "", f"digest{version}", "", "ruabdh", '{"collection_id":"a:b","id":"r"}')
            reply = await users.publisher.store.call("FCALL", "broker_v1_publish_records", 1, "broker:{demo}", *row)
            assert reply[0] == status
            # The version before is out, then waits for a retry: the next one takes its place.
            batch = await users.worker.next("w")
            if version == 0:
                await users.worker.nack("w", [Nack(row.ack_token) for row in batch.deliveries])
    finally:
        await users.close()


async def test_the_worker_works(users: Users, broker: Broker) -> None:
    await broker.publish("demo", [EVENT | {"key": key} for key in ("a", "a", "b", "c", "d")])
    one, two, three, four = (await users.worker.next("w", 9)).deliveries
    assert (await users.worker.extend("w", [one.ack_token])).count == 1
    assert (await users.worker.ack("w", [one.ack_token])).count == 1
    reject, retry = Nack(two.ack_token, outcome="reject", reason="bad"), Nack(three.ack_token, 0)
    assert (await users.worker.nack("w", [reject, retry, Nack(four.ack_token, outcome="release")])).count == 3
    again = await users.worker.next("w", 9)
    assert [row.deliver_count for row in again.deliveries] == [1, 2, 1]
    assert (await users.worker.next("w", ack=[row.ack_token for row in again.deliveries], wait_ms=50)).deliveries == []
    info = (await broker.consumers.get("w")).info
    assert info is not None and (info.num_pending, info.num_ack_pending, info.num_dead) == (0, 0, 1)


async def test_a_call_that_waits_is_woken_for_the_worker(users: Users, broker: Broker, store: Store) -> None:
    waiting = asyncio.create_task(users.worker.next("w", wait_ms=10_000))
    async with asyncio.timeout(5):
        await blocked(store)
    await broker.publish("demo", [EVENT])
    assert len((await waiting).deliveries) == 1


async def blocked(store: Store) -> None:
    """Returns when a client waits in Redis."""
    while b"blocked_clients:1" not in await store.call("INFO", "clients"):
        pass


async def test_a_worker_of_delayed_events_may_append_them(server: Embedded, users: Users, broker: Broker, store: Store) -> None:
    with redis.Redis.from_url(server.url) as client:
        (line,) = (line for line in lines("ACL") if "worker" in line.text)
        client.execute_command(*(word.replace(":wake ", ":wake ~broker:{demo}:log ") for word in line.arguments({})))
    soon = rfc3339(await now_ms(store) + 500)
    assert [row.message_id for row in await broker.publish("demo", [EVENT | {"deliver_at": soon}])] == [None]
    assert len((await users.worker.next("w", wait_ms=5000)).deliveries) == 1


async def test_a_worker_that_may_not_append_fails_while_a_delayed_event_is_due(users: Users, broker: Broker, store: Store) -> None:
    soon = rfc3339(await now_ms(store) + 500)
    await broker.publish("demo", [EVENT | {"deliver_at": soon}])
    with pytest.raises(BrokerError):
        await users.worker.next("w", wait_ms=5000)
    assert len((await broker.next("w")).deliveries) == 1  # nothing was lost by it


CALLS = {
    "publisher": {
        "next": ("FCALL", "broker_v1_next", 1, "broker:{demo}", "w", 1, 1, 0),
        "other stream": ("FCALL", "broker_v1_publish_events", 1, "broker:{other}", "", "a:b", "", "ruceabh", "{}", "", ""),
        "delete": ("FCALL", "broker_v1_stream_delete", 1, "broker:{demo}", "1"),
        "plain read": ("XREADGROUP", "GROUP", "w", "me", "STREAMS", "broker:{demo}:log", ">"),
        "plain ack": ("XACK", "broker:{demo}:log", "w", "1-1"),
        "registry": ("HSET", "broker:streams", "mine", ""),
        "script": ("EVAL", "return 1", 0),
        "library": ("FUNCTION", "FLUSH"),
    },
    "worker": {
        "publish": ("FCALL", "broker_v1_publish_events", 1, "broker:{demo}", "", "a:b", "", "ruceabh", "{}", "", ""),
        "other stream": ("FCALL", "broker_v1_next", 1, "broker:{other}", "o", 1, 1, 0),
        "reset": ("FCALL", "broker_v1_consumer_reset", 1, "broker:{demo}", "w", "all", "all"),
        "plain publish": ("XADD", "broker:{demo}:log", "*", "collection_id", "a:b", "data", "1"),
        "group": ("XGROUP", "DESTROY", "broker:{demo}:log", "w"),
        "registry": ("HSET", "broker:consumers", "w", "other"),
        "library": ("FUNCTION", "DELETE", LIBRARY),
    },
}


@pytest.mark.parametrize(("user", "call"), [(user, call) for user, calls in CALLS.items() for call in calls])
async def test_what_a_user_may_not_do_is_refused_and_nothing_happened(
    users: Users, broker: Broker, store: Store, user: str, call: str
) -> None:
    await broker.publish("demo", [EVENT])
    await broker.publish("other", [EVENT])
    before = await state(store)
    refused: Broker = getattr(users, user)
    with pytest.raises(StoreUnavailable, match="nothing happened") as raised:
        await refused.store.call(*CALLS[user][call])
    assert "permission" in str(raised.value.__cause__)
    assert await state(store) == before


async def test_a_user_without_a_right_to_a_stream_is_told_so_by_the_library(users: Users, broker: Broker) -> None:
    await broker.publish("other", [EVENT])
    with pytest.raises(StoreUnavailable, match="nothing happened"):
        await users.worker.next("o")
    found: Sequence[Delivery] = (await broker.next("o")).deliveries
    assert [row.deliver_count for row in found] == [1]
