"""Sentinels over a primary and its replica: the primary dies, and calls go to the one that takes its place."""

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks import failover
from benchmarks.redis_processes import until
from benchmarks.replicated import SERVICE, Guarded, guarded
from broker import Broker
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


async def test_what_a_replica_has_confirmed_outlives_its_primary(service: Guarded) -> None:
    async def kill_one() -> None:
        await asyncio.sleep(1)
        await asyncio.to_thread(service.fail_over)

    service.settle()
    seen = await failover.run(service.url, 8, 1, kill_one)
    assert seen.confirmed
    assert seen.lost == set()
    assert not seen.refusals.keys() - {"OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"}


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
