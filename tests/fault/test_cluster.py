"""A real Redis Cluster of six processes: slots on their way, primaries that die, and scripts where none were loaded.

The contract's own tests run over it too (tests/contract/conftest.py).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal

import pytest

from broker import Broker, BrokerError, ConsumerSpec, StreamSpec
from broker.broker import READY
from broker.errors import StoreUnavailable
from broker.store.guarantees import examine
from tests.support import failover
from tests.support.cluster import Cluster, running_cluster
from tests.support.servers import BACKENDS, binary_of
from tests.support.serving import serving

pytestmark = pytest.mark.anyio
EVENT = {"collection_id": "a:b", "data": 1}
STREAM = "broker:{events}"


@pytest.fixture(scope="module", params=BACKENDS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries and their replicas."""
    with running_cluster(binary_of(request.param)) as found:
        yield found


@pytest.fixture
async def broker(cluster: Cluster) -> AsyncIterator[Broker]:
    """A broker over the empty cluster."""
    cluster.settle()
    cluster.empty()
    async with Broker.from_url(cluster.url) as found:
        yield found


async def reached(condition: Callable[[], bool]) -> None:
    """Return when a condition holds. TimeoutError: it did not within 20 s."""
    async with asyncio.timeout(20):
        for _ in iter(condition, True):
            await asyncio.sleep(0.01)


async def stored(broker: Broker) -> int:
    """How many events the stream holds."""
    return (await broker.streams.get("events")).info.messages


async def test_streams_lie_on_every_primary_and_are_found_by_every_server(cluster: Cluster, broker: Broker) -> None:
    names = [f"s{n}" for n in range(12)]
    for name in names:
        await broker.streams.create(StreamSpec(name=name, kind="events"))
        await broker.consumers.create(ConsumerSpec(name=f"c-{name}", stream_id=name))
        await broker.publish(name, [EVENT])
    assert {cluster.primary_of(f"broker:{{{name}}}").port for name in names} == {server.port for server in cluster.primaries()}
    async with Broker.from_url(cluster.url) as other:
        assert [stream.name for stream in (await other.streams.page())[0]] == sorted([*names, "events", "records"])
        for name in names:
            assert len((await other.next(f"c-{name}")).deliveries) == 1


async def test_c47_the_promises_are_those_of_all_primaries(broker: Broker) -> None:
    found = await examine(broker.store)
    assert "a cluster of 3 primaries" in found.server
    assert found.replicas == "1, 1, 1"
    assert await broker.readiness() == READY


async def test_a_script_on_a_slot_in_transit_does_nothing_until_the_slot_has_arrived(cluster: Cluster, broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await broker.publish("events", [EVENT])
    slot, source, target = cluster.begin_migration(STREAM)
    with pytest.raises(StoreUnavailable):
        await broker.publish("events", [EVENT])
    waiting = [asyncio.create_task(call) for call in (broker.publish("events", [EVENT]), broker.next("c", 10), broker.next("c", 10))]
    while cluster.move_keys(slot, source, target, 1):  # parts of the stream here, parts there
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
    cluster.end_migration(slot, target)
    await asyncio.gather(*waiting)
    assert await stored(broker) == 2
    assert (await broker.consumers.get("c")).info.num_pending + (await broker.consumers.get("c")).info.num_ack_pending == 2


async def test_slots_migrate_under_load_and_nothing_is_lost_or_delivered_twice(cluster: Cluster, broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events", max_ack_pending=10_000))
    published: list[str] = []
    delivered: list[str] = []
    done = asyncio.Event()

    async def publish() -> None:
        while not done.is_set():
            published.extend(row.message_id or "" for row in await broker.publish("events", [EVENT] * 5))

    async def pull(other: Broker) -> None:
        while True:
            batch = await other.next("c", 20, wait_ms=100)
            delivered.extend(delivery.id for delivery in batch.deliveries)
            await other.ack("c", [delivery.ack_token for delivery in batch.deliveries]) if batch.deliveries else None
            if done.is_set() and not batch.num_pending and not batch.num_ack_pending:
                return

    async with Broker.from_url(cluster.url) as other:
        tasks = [asyncio.create_task(task) for task in (publish(), publish(), pull(broker), pull(other), pull(other))]
        for _ in range(6):
            await asyncio.to_thread(cluster.migrate, STREAM)
            before = len(delivered)
            await reached(lambda before=before: len(delivered) >= before + 50)  # type: ignore[misc]
        done.set()
        await asyncio.gather(*tasks)
    assert sorted(delivered) == sorted(published)
    assert (await broker.consumers.get("c")).info.num_redelivered == 0


async def test_a_waiting_call_follows_its_stream_to_another_server(cluster: Cluster, broker: Broker) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    waiting = asyncio.create_task(broker.next("c", wait_ms=20_000))
    await reached(lambda: broker.waiting.count == 1)
    await asyncio.to_thread(cluster.migrate, STREAM)
    await broker.publish("events", [EVENT])
    assert len((await asyncio.wait_for(waiting, 10)).deliveries) == 1


async def test_registries_and_single_keys_are_found_while_their_slot_is_in_transit(cluster: Cluster, broker: Broker) -> None:
    slot, source, target = cluster.begin_migration("broker:consumers")
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))  # asked for at the target
    assert [consumer.name for consumer in (await broker.consumers.page())[0]] == ["c"]
    while cluster.move_keys(slot, source, target, 10):
        pass
    cluster.end_migration(slot, target)
    assert [consumer.name for consumer in (await broker.consumers.page())[0]] == ["c"]


async def test_scripts_are_loaded_wherever_they_are_needed(cluster: Cluster, broker: Broker) -> None:
    for primary in cluster.primaries():
        primary.run("SCRIPT", "FLUSH")
    await broker.publish("events", [EVENT])
    await broker.publish("records", [EVENT | {"id": "1"}])
    assert await stored(broker) == 1


async def test_a_primary_dies_and_calls_ride_it_out(cluster: Cluster, broker: Broker) -> None:
    async with serving(cluster.url) as client:
        assert (await client.post("/v1/streams/events/messages", json={"messages": [EVENT]})).status_code == 200
        dying = asyncio.create_task(asyncio.to_thread(cluster.fail_over, cluster.primary_of(STREAM)))
        published = 0
        while not dying.done():
            reply = await client.post("/v1/streams/events/messages", json={"messages": [EVENT]})
            assert reply.status_code in (200, 503, 504), reply.text
            published += reply.status_code == 200
            await asyncio.sleep(0.02)
        await dying
        assert published
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.post("/v1/streams/events/messages", json={"messages": [EVENT]})).status_code == 200


@pytest.mark.parametrize("cluster", BACKENDS[:1], indirect=True)
@pytest.mark.parametrize("how", ["killed", "hung"])
async def test_what_a_replica_has_confirmed_outlives_its_primary(cluster: Cluster, broker: Broker, how: Literal["killed", "hung"]) -> None:
    async def lose_one() -> None:
        await reached(lambda: len(seen.delivered) > 100)
        await asyncio.to_thread(cluster.fail_over, cluster.primary_of("broker:{s0}"), how)

    seen = failover.Seen()
    await failover.run(cluster.url, 1, lose_one, seen)
    assert seen.confirmed
    assert seen.lost == set()
    assert not seen.refusals.keys() - {"OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"}


async def test_a_url_of_one_server_says_that_it_is_a_cluster(cluster: Cluster) -> None:
    async with asyncio.timeout(20):
        for server in cluster.primaries():
            broker = Broker.from_url(server.url)
            try:
                await broker.start()
            except BrokerError as exc:
                assert isinstance(exc, StoreUnavailable)
                assert "redis+cluster://" in exc.summary
                return
            finally:
                await broker.close()
    raise AssertionError("one server holds everything")
