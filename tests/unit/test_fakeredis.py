"""The broker over fakeredis: what a user's own tests can rely on without a Redis, and what they cannot.

A store over fakeredis is `Store(SingleServer(ConnectionPool(connection_class=Connection, server=FakeServer(...),
protocol=2)))`, where `Connection` is fakeredis' own with the one thing that it lacks, below. Streams, publishing,
consumers, next, ack, nack, pending, peek, dead letters and waiting work. The gaps of fakeredis 2.41, each with a test
that fails while it is there:

- `FakeAsyncRedisConnection` has no transport, so it needs the subclass below.
- XCLAIM takes the id after LASTID for one more to claim: `next` of a filtered consumer gives its last message twice.
- There is no MEMORY: the `bytes` of a stream are 0.
- There is no INFO: what `broker.promises.examine` tells, and so `broker check`, is unknown.
- `cjson.encode` refuses bytes that are not UTF-8: a plain XADD with such a field cannot be read.

It also is slow: every XPENDING looks at all that is out, and time goes on while a script runs. Thousands of deliveries
that expire at once may expire again before they are all delivered.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import fakeredis
import msgspec
import pytest
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from broker import Broker, BrokerError, ConsumerChanges, ConsumerSpec, Filters, Nack, Store, StreamSpec
from broker.errors import ConsumerExists, RecordNotFound, StreamExists, StreamInUse, StreamNotFound
from broker.store.guarantees import examine
from broker.store.single import SingleServer
from tests.support.clock import advance, shifted_scripts

pytestmark = pytest.mark.anyio


class Transport:
    """Stands for the transport that a fake connection does not have: the store writes to it and gets the replies."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.reader: asyncio.Task[None] | None = None

    def set_protocol(self, link: Any) -> None:
        self.link = link
        self.reader = asyncio.create_task(self.read())

    def write(self, packed: bytes) -> None:
        if not self.is_closing():
            self.connection._writer.writelines([packed])  # type: ignore[union-attr]

    def is_closing(self) -> bool:
        return self.connection._writer is None or not self.connection._server.connected  # type: ignore[union-attr]

    async def read(self) -> None:
        while True:
            try:
                self.link.answer(await self.connection.read_response(disconnect_on_error=False))
            except ResponseError as exc:
                self.link.answer(exc)
            except RedisConnectionError as exc:
                self.link.connection_lost(exc)
                return

    def abort(self) -> None:
        if self.reader is not None:
            self.reader.cancel()


class Connection(fakeredis.FakeAsyncRedisConnection):
    """fakeredis' connection, with what the store asks of one."""

    async def _connect(self) -> None:
        await super()._connect()
        self._writer.transport = Transport(self)  # type: ignore[union-attr]


def store_over(server: fakeredis.FakeServer, connection: type = Connection) -> Store:
    """A store over a fake server."""
    return Store(SingleServer(ConnectionPool(connection_class=connection, server=server, protocol=2)))


@pytest.fixture(params=[("redis", (7, 4)), ("valkey", (8, 0))], ids=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> fakeredis.FakeServer:
    kind, version = request.param
    return fakeredis.FakeServer(server_type=kind, version=version)


@pytest.fixture
async def broker(server: fakeredis.FakeServer) -> AsyncIterator[Broker]:
    async with Broker(store_over(server), scripts=shifted_scripts()) as broker:
        yield broker


def event(n: int, collection_id: str = "github:issues", **fields: Any) -> dict[str, Any]:
    return {"collection_id": collection_id, "data": n} | fields


def record(name: str, n: int, collection_id: str = "stripe:customers") -> dict[str, Any]:
    return {"id": name, "collection_id": collection_id, "data": n}


def data(messages: Iterable[Any]) -> list[int]:
    """The data of deliveries or stored messages."""
    return [msgspec.json.decode(message.json)["data"] for message in messages]


async def info(broker: Broker, consumer: str) -> tuple[int, int, int]:
    found = (await broker.consumers.get(consumer)).info
    return found.num_pending, found.num_ack_pending, found.num_dead


async def test_streams(broker: Broker) -> None:
    spec = StreamSpec(name="mine", kind="events", max_messages=5, metadata={"a": 1})
    created, new = await broker.streams.create(spec)
    assert (created.kind, created.max_messages, created.metadata, new) == ("events", 5, {"a": 1}, True)
    assert await broker.streams.create(spec) == (created, False)
    with pytest.raises(StreamExists):
        await broker.streams.create(StreamSpec(name="mine"))
    assert [stream.name for stream in (await broker.streams.page())[0]] == ["events", "mine", "records"]
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="mine"))
    with pytest.raises(StreamInUse):
        await broker.streams.delete("mine")
    await broker.streams.delete("mine", force=True)
    with pytest.raises(StreamNotFound):
        await broker.streams.get("mine")
    assert (await broker.consumers.page())[0] == []


async def test_publishing_records(broker: Broker) -> None:
    first = await broker.publish("records", [record("a", 1), record("b", 2)])
    assert [row.status for row in first] == ["created", "created"]
    again = await broker.publish("records", [record("a", 1), record("b", 3)])
    assert [row.status for row in again] == ["unchanged", "updated"]
    assert (await broker.publish("records", [{"id": "a", "collection_id": "x", "deleted": True}]))[0].status == "deleted"
    assert data([await broker.streams.record("records", "b")]) == [3]
    assert data((await broker.streams.messages("records"))[0]) == [3, None]
    with pytest.raises(RecordNotFound):
        await broker.streams.record("records", "c")


async def test_publishing_events(broker: Broker) -> None:
    assert [row.status for row in await broker.publish("events", [event(1, id="x"), event(2)])] == ["created", "created"]
    assert [row.status for row in await broker.publish("events", [event(1, id="x"), event(3)])] == ["duplicate", "created"]
    found, cursor, _ = await broker.streams.messages("events", limit=2)
    assert (data(found), cursor) == ([1, 2], found[-1].id)
    assert data((await broker.streams.messages("events", after=cursor))[0]) == [3]


async def test_publishing_to_a_plain_client_and_from_one(broker: Broker) -> None:
    await broker.store.call("XADD", "broker:{events}:log", "*", "collection_id", "a:b", "data", "7")
    await broker.publish("events", [event(8)])
    found, _, _ = await broker.streams.messages("events")
    assert data(found) == [7, 8]
    assert [msgspec.json.decode(message.json)["updated_idx"] for message in found] == [1, 2]


async def test_limits_drop_the_oldest(broker: Broker) -> None:
    await broker.streams.create(StreamSpec(name="short", kind="events", max_messages=2))
    await broker.publish("short", [event(n) for n in range(5)])
    assert data((await broker.streams.messages("short"))[0]) == [3, 4]


async def test_consumers(broker: Broker) -> None:
    spec = ConsumerSpec(name="c", stream_id="events", filters=Filters(provider="github"), metadata={"team": "x"})
    created, new = await broker.consumers.create(spec)
    assert (created.filters, created.metadata, new) == (Filters(provider="github"), {"team": "x"}, True)
    assert await broker.consumers.create(spec) == (created, False)
    with pytest.raises(ConsumerExists):
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    assert (await broker.consumers.update("c", ConsumerChanges(max_deliver=3))).max_deliver == 3
    assert [consumer.name for consumer in (await broker.consumers.page())[0]] == ["c"]
    await broker.consumers.delete("c")
    assert (await broker.consumers.page())[0] == []


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_next_ack_nack(broker: Broker, stream: str) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id=stream, max_deliver=2))
    await broker.publish(stream, [record(f"r{n}", n) for n in range(4)])
    assert data(await broker.deliveries.peek("c", 2)) == [0, 1]
    batch = await broker.next("c", 3)
    assert data(batch.deliveries) == [0, 1, 2]
    assert (batch.num_pending, batch.num_ack_pending) == (1, 3)
    pending, _ = await broker.deliveries.pending("c")
    assert [row.id for row in pending] == [delivery.id for delivery in batch.deliveries]
    tokens = [delivery.ack_token for delivery in batch.deliveries]
    assert (await broker.ack("c", tokens[:1])).count == 1
    assert (await broker.ack("c", tokens[:1])).stale == tokens[:1]
    settled = await broker.nack("c", [Nack(tokens[1]), Nack(tokens[2], outcome="reject", reason="bad")])
    assert (settled.count, settled.stale) == (2, [])
    assert await info(broker, "c") == (2, 0, 1)
    again = await broker.next("c", 9)
    assert [(d, delivery.deliver_count) for d, delivery in zip(data(again.deliveries), again.deliveries, strict=True)] == [(1, 2), (3, 1)]
    assert (await broker.nack("c", [Nack(again.deliveries[0].ack_token)])).count == 1
    letters, _ = await broker.dead_letters.page("c")
    assert [(letter.reason, letter.last_nack_reason) for letter in letters] == [("rejected", "bad"), ("max_deliver", None)]
    assert data(letters) == [2, 1]


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_a_filtered_consumer_by_one_message_of_each_call(broker: Broker, stream: str) -> None:
    # What XCLAIM gives twice is one message more than was asked for, and the same: the first of a call is right.
    await broker.consumers.create(ConsumerSpec(name="c", stream_id=stream, filters=Filters(provider=["git*", "x"])))
    names = ["github:a", "gitlab:a", "stripe:a", "x:a", "xx:a"]
    await broker.publish(stream, [record(f"r{n}", n, name) for n, name in enumerate(names)])
    assert (await info(broker, "c"))[:2] == (3, 0)
    assert data(await broker.deliveries.peek("c")) == [0, 1, 3]
    for expected in (0, 1, 3):
        batch = await broker.next("c")
        first = batch.deliveries[0]
        assert data([first]) == [expected]
        assert (await broker.ack("c", [first.ack_token])).count == 1
    assert (await broker.next("c")).deliveries == []
    assert (await info(broker, "c"))[:2] == (0, 0)


async def test_a_filtered_consumer_nacks(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", filters=Filters(collection_id="github:*"), max_deliver=2))
    await broker.publish("events", [event(1), event(2, "stripe:x")])
    for count in (1, 2):
        delivery = (await broker.next("c")).deliveries[0]
        assert (data([delivery]), delivery.deliver_count) == ([1], count)
        assert (await broker.nack("c", [Nack(delivery.ack_token)])).count == 1
    assert (await broker.next("c")).deliveries == []
    assert await info(broker, "c") == (0, 0, 1)


async def test_what_is_not_settled_is_delivered_again(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", ack_wait_ms=1000))
    await broker.publish("events", [event(1)])
    first = (await broker.next("c")).deliveries[0]
    assert (await broker.next("c")).deliveries == []
    await advance(broker.store, 1001)
    second = (await broker.next("c")).deliveries[0]
    assert (second.id, second.deliver_count) == (first.id, 2)
    assert (await broker.ack("c", [first.ack_token, second.ack_token])).stale == [first.ack_token]


async def test_waiting(broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    waiting = asyncio.create_task(broker.next("c", wait_ms=60_000))
    await broker.publish("events", [event(1)])
    assert data((await waiting).deliveries) == [1]


async def test_two_brokers_over_one_fake(broker: Broker, server: fakeredis.FakeServer) -> None:
    async with Broker(store_over(server)) as other:
        await other.consumers.create(ConsumerSpec(name="c", stream_id="events"))
        await broker.publish("events", [event(1), event(2)])
        assert data((await other.next("c")).deliveries) == [1]
        assert data((await broker.next("c")).deliveries) == [2]


async def test_a_fake_that_is_down_is_unavailable(broker: Broker, server: fakeredis.FakeServer) -> None:
    server.connected = False
    with pytest.raises(BrokerError) as failure:
        await broker.publish("events", [event(1)])
    assert failure.value.code in ("STORE_UNAVAILABLE", "OUTCOME_UNKNOWN")


@pytest.fixture
def tcp() -> Iterator[str]:
    """A fake server on a port of its own."""
    with fakeredis.TcpFakeServer(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_the_fake_server_of_a_port(tcp: str) -> None:
    async with Broker.from_url(tcp) as broker:
        await broker.publish("events", [event(1)])
        await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
        assert data((await broker.next("c")).deliveries) == [1]


# The gaps are another project's: one that is mended is reported as XPASS and fails nothing. Then take it out of the
# list above, and the mark off its test. What fails in another way than a gap does still fails.


@pytest.mark.xfail(strict=False, raises=AttributeError, reason="a fake connection has no transport")
async def test_gap_the_connection_as_it_comes(server: fakeredis.FakeServer) -> None:
    await store_over(server, fakeredis.FakeAsyncRedisConnection).call("EXISTS", "broker:started")


@pytest.mark.xfail(strict=False, raises=AssertionError, reason="XCLAIM claims the id of LASTID too")
@pytest.mark.parametrize("stream", ["events", "records"])
async def test_gap_a_filtered_consumer_gets_each_message_once(broker: Broker, stream: str) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id=stream, filters=Filters(provider="stripe")))
    await broker.publish(stream, [record("a", 1), record("b", 2)])
    assert data((await broker.next("c", 9)).deliveries) == [1, 2]


@pytest.mark.parametrize("stream", ["events", "records"])
async def test_a_stream_that_holds_messages_is_shown(broker: Broker, stream: str) -> None:
    await broker.publish(stream, [record("a", 1)])
    assert (await broker.streams.get(stream)).info.messages == 1


async def test_the_promises_of_redis(broker: Broker) -> None:
    assert (await examine(broker.store)).server


@pytest.mark.xfail(strict=False, raises=UnicodeDecodeError, reason="cjson.encode refuses what is not UTF-8")
async def test_gap_a_plain_entry_of_odd_bytes(broker: Broker) -> None:
    await broker.store.call("XADD", "broker:{events}:log", "*", "collection_id", "a:b", "data", b"\xff")
    assert len((await broker.streams.messages("events"))[0]) == 1
