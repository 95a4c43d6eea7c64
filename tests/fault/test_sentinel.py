"""Sentinels over a primary and its replica: the primary dies, and calls go to the one that takes its place."""

import asyncio
import math
from collections.abc import Iterator

import pytest

from broker import Broker, Store
from tests.support import failover
from tests.support.polling import until
from tests.support.replicated import SERVICE, Fault, Guarded, guarded
from tests.support.servers import BACKENDS, binary_of
from tests.support.serving import serving

pytestmark = pytest.mark.anyio
EVENT = {"messages": [{"collection_id": "a:b", "data": 1}]}
PUBLISH = "/v1/streams/events/messages"


@pytest.fixture(params=BACKENDS)
def service(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    """Three sentinels, a primary and its replica."""
    with guarded(binary_of(request.param)) as found:
        yield found


async def test_a_call_waits_for_the_new_primary(service: Guarded) -> None:
    async with serving(service.url) as client:
        assert (await client.post(PUBLISH, json=EVENT)).status_code == 200
        dying = asyncio.create_task(asyncio.to_thread(service.fail_over))
        statuses = []
        while not dying.done():
            statuses.append((await client.post(PUBLISH, json=EVENT)).status_code)
            await asyncio.sleep(0.02)
        await dying
        assert set(statuses) <= {200, 503, 504}
        assert statuses[-1] == 200
        assert (await client.post(PUBLISH, json=EVENT)).status_code == 200


@pytest.mark.parametrize(("backend", "how"), [*((backend, "killed") for backend in BACKENDS), (BACKENDS[0], "hung")])
async def test_what_a_replica_has_confirmed_outlives_its_primary(backend: str, how: Fault) -> None:
    with guarded(binary_of(backend), replicas=2) as service:

        async def lose_one() -> None:
            await asyncio.to_thread(until, lambda: len(seen.delivered) > 100, "messages are delivered")
            await asyncio.to_thread(service.lose, how)
            fault, _ = service.faults[0]
            await asyncio.to_thread(until, lambda: seen.back(fault) < math.inf, "publishes are answered again")

        seen = failover.Seen()
        await failover.run(service.url, 1, lose_one, seen)
        assert seen.lost == set()
        assert not seen.refusals.keys() - {"OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_all_that_waits_for_a_primary_that_hangs_goes_on_with_its_successor(backend: str) -> None:
    """A call, a read that blocks, and a wait for replicas. A reply may take minutes: the sentinels alone tell it."""
    with guarded(binary_of(backend), replicas=2) as service:
        async with serving(service.url, timeout=600) as client, asyncio.timeout(60):
            await client.post("/v1/streams", json={"name": "d", "kind": "events", "replicas": 1})
            await client.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
            assert (await client.post("/v1/streams/d/messages", json=EVENT)).status_code == 200
            reading = asyncio.create_task(client.get("/v1/http-consumers/c/next", params={"wait_for": "5m"}))
            while "broker_waiting_calls 1.0" not in (await client.get("/metrics")).text:
                pass
            service.settle()
            old = service.primary()
            assert old is not None
            replicas = [server for server in service.servers if server is not old]
            for replica in replicas:
                replica.hang()
            confirming = asyncio.create_task(client.post("/v1/streams/d/messages", json=EVENT))
            await asyncio.to_thread(until, lambda: old.run("XLEN", "broker:{d}:log") == 2, "it waits for the replicas")
            old.hang()
            for replica in replicas:
                replica.go_on()
            calling = asyncio.create_task(client.get("/v1/streams/d"))

            unconfirmed = await confirming
            assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (504, "OUTCOME_UNKNOWN")
            assert (await calling).status_code == 504
            again = {"messages": [EVENT["messages"][0] | {"id": unconfirmed.json()["data"][0]["id"]}]}
            while (await client.post("/v1/streams/d/messages", json=again)).status_code != 200:
                pass
            assert (await client.post(PUBLISH, json=EVENT)).status_code == 200
            reply = await reading
            if reply.status_code == 504:  # it was just looking when the primary hung, and may have been given something
                reply = await client.get("/v1/http-consumers/c/next", params={"wait_for": "5m"})
            assert len(reply.json()["data"]) == 1


@pytest.mark.parametrize("backend", BACKENDS[:1])
async def test_an_old_primary_that_comes_back_is_not_written_to(backend: str) -> None:
    """The sentinels make it a replica some ten seconds later. Until then it accepts writes and loses them."""
    with guarded(binary_of(backend), replicas=2) as service:
        store = Store.from_url(service.url)
        await store.call("RPUSH", "list", "before")
        old = await asyncio.to_thread(service.lose, "hung")
        await asyncio.to_thread(until, lambda: not store.connected, "the store leaves it, though nobody calls")
        old.go_on()
        assert old.is_primary
        assert await store.call("RPUSH", "list", "after") == 2
        assert old.run("LLEN", "list") == 1
        await store.close()


@pytest.mark.parametrize("service", BACKENDS[:1], indirect=True)
async def test_a_primary_that_was_demoted_is_left(service: Guarded) -> None:
    service.settle()
    before = service.primary()
    async with serving(service.url) as client:
        ordered = lambda: bool(service.sentinels[0].run("SENTINEL", "FAILOVER", SERVICE))  # noqa: E731
        await asyncio.to_thread(until, ordered, "the sentinel takes the replica for fit")
        # The sentinels name the new primary at once, and some seconds later make the old one its replica.
        await asyncio.to_thread(until, lambda: service.primary() not in (before, None), "another is named")
        settling = asyncio.create_task(asyncio.to_thread(service.settle))
        while not settling.done():
            assert (await client.post(PUBLISH, json=EVENT)).status_code in (200, 503, 504)
            await asyncio.sleep(0.02)
        await settling
        assert (await client.post(PUBLISH, json=EVENT)).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:1",
        "redis+sentinel:///broker",
        "redis+cluster://",
        "redis+cluster://127.0.0.1:1/3",
        "redis+cluster://127.0.0.1:port",
        "redis+cluster://127.0.0.1:1?no_such_option=1",
        "redis+other://127.0.0.1:1",
    ],
)
def test_c49_a_url_that_names_no_servers_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Broker.from_url(url)
