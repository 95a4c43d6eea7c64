"""What the disk has when the power fails, and on which servers a stream may ask for it (stream setting `fsync`)."""

import asyncio
import sys
from collections.abc import Iterator

import httpx
import pytest
import redis

from broker import Store
from broker.store.embedded import Embedded
from broker.store.guarantees import examine
from tests.support.power import COMPILER, Machine, create, failures, held, machine
from tests.support.servers import BACKENDS, running
from tests.support.serving import serving

DURABLE = {"name": "d", "kind": "events", "fsync": True}
EVENT = {"collection_id": "a:b", "data": "one"}
loses_what_is_not_synced = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="no C compiler")


@pytest.fixture
def power() -> Iterator[Machine]:
    """A machine whose power may fail."""
    with machine() as found:
        yield found


@pytest.fixture(params=BACKENDS)
def foreign(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A server that is not a broker's own, as Redis is set up by default but for its append-only file."""
    with running(request.param, "--appendonly", "yes", "--proc-title-template", "{title} {listen-addr}") as server:
        yield server


@pytest.fixture
def asked(foreign: Embedded) -> Iterator[redis.Redis]:
    """A client of that server, where it has WAITAOF."""
    with redis.Redis.from_url(foreign.url, decode_responses=True) as client:
        yield client


def publish(url: str, stream: str, name: str) -> int:
    """Publish one event; the status."""
    message = {"collection_id": "a:b", "id": name, "data": name}
    return httpx.post(f"{url}/v1/streams/{stream}/messages", json={"messages": [message]}).status_code


@loses_what_is_not_synced
def test_power_failures_under_load_lose_nothing_that_was_answered(power: Machine) -> None:
    create(power.url, fsync=True)
    seen = failures(power, 3, 0.5)
    assert (len(seen.lost), list(seen.statuses)) == (0, [200])
    assert all(seen.answered.values())


@loses_what_is_not_synced
def test_of_other_streams_a_power_failure_takes_what_was_not_synced(power: Machine) -> None:
    create(power.url, fsync=True)
    assert publish(power.url, "durable-events", "before") == 200
    power.redis("CONFIG", "SET", "appendfsync", "no")
    assert publish(power.url, "events", "plain") == 200
    assert power.fail() > 0
    power.start()
    assert held(power.url, "durable-events")[0] == {"before"}
    assert held(power.url, "events")[0] == set()


@loses_what_is_not_synced
def test_an_embedded_server_syncs_each_write_from_the_first_stream_that_asks(power: Machine) -> None:
    assert "everysec" in power.redis("CONFIG", "GET", "appendfsync").values()
    create(power.url, fsync=True)
    assert power.redis("CONFIG", "GET", "appendfsync") == {"appendfsync": "always"}
    power.fail()
    power.start()
    assert "everysec" in power.redis("CONFIG", "GET", "appendfsync").values()
    assert publish(power.url, "durable-events", "one") == 200
    assert power.redis("CONFIG", "GET", "appendfsync") == {"appendfsync": "always"}


@pytest.mark.anyio
async def test_a_stream_is_refused_where_redis_may_confirm_too_early(foreign: Embedded, asked: redis.Redis) -> None:
    async with serving(foreign.url) as client:
        await client.post("/v1/streams", json=DURABLE | {"fsync": False})
        created = await client.post("/v1/streams", json=DURABLE | {"name": "e"})
        changed = await client.patch("/v1/streams/d", json={"fsync": True})
        for reply in (created, changed):
            assert reply.status_code == 422
            [reason] = reply.json()["validation_errors"]["fsync"]
            assert ("unknown command" if _old(asked) else "with everysec, as here, Redis may confirm") in reason
        if not _old(asked):
            asked.config_set("appendfsync", "always")
            assert (await client.patch("/v1/streams/d", json={"fsync": True})).status_code == 200


def _old(client: redis.Redis) -> bool:
    """Whether it is a Redis without WAITAOF, which is refused for that."""
    return bool(client.info("server")["redis_version"].startswith("7.0"))


@pytest.mark.anyio
@pytest.mark.parametrize("foreign", ["valkey"], indirect=True)
async def test_when_the_setting_changes_publishes_are_504(foreign: Embedded, asked: redis.Redis) -> None:
    async with serving(foreign.url) as client:
        asked.config_set("appendfsync", "always")
        assert (await client.post("/v1/streams", json=DURABLE)).status_code == 201
        one = {"messages": [EVENT | {"id": "1"}]}
        assert (await client.post("/v1/streams/d/messages", json=one)).status_code == 200
        asked.config_set("appendfsync", "everysec")
        two = {"messages": [EVENT | {"id": "2"}]}
        reply = await client.post("/v1/streams/d/messages", json=two)
        assert (reply.status_code, reply.json()["code"]) == (504, "OUTCOME_UNKNOWN")
        assert [row["id"] for row in reply.json()["data"]] == ["2"]
        asked.config_set("appendfsync", "always")
        assert (await client.post("/v1/streams/d/messages", json=two)).json()["info"] == {"duplicate": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("foreign", ["valkey"], indirect=True)
async def test_a_server_that_hides_its_settings_is_refused(foreign: Embedded, asked: redis.Redis) -> None:
    asked.config_set("appendfsync", "always")
    asked.acl_setuser("u", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-config"])
    async with serving(f"unix://u:x@{foreign.socket}") as client:
        reply = await client.post("/v1/streams", json=DURABLE)
        assert reply.status_code == 422
        assert "does not show its settings" in reply.json()["validation_errors"]["fsync"][0]


@pytest.mark.anyio
@pytest.mark.parametrize("foreign", ["valkey"], indirect=True)
async def test_c47_what_the_server_promises_names_fsync(foreign: Embedded, asked: redis.Redis) -> None:
    store = Store.from_url(foreign.url)
    try:
        assert "a stream with fsync: true needs appendfsync always" in (await examine(store)).persistence
        asked.config_set("appendfsync", "always")
        async with serving(foreign.url) as client:
            for name in "abcde":
                assert (await client.post("/v1/streams", json=DURABLE | {"name": name})).status_code == 201
        found = await examine(store)
        assert (found.persistence, found.warnings) == ("append-only file, fsync always", ())
        asked.config_set("appendfsync", "everysec")
        [warning] = (await examine(store)).warnings
        assert "('a', 'b', 'c' and 2 more)" in warning and "answered 504" in warning
    finally:
        await store.close()


@pytest.mark.anyio
async def test_c47_an_embedded_server_promises_it_whatever_its_setting() -> None:
    with running("valkey", "--appendonly", "yes") as server:
        store = Store.from_url(server.url)
        async with serving(server.url) as client:
            before = (await examine(store)).persistence
            assert (await client.post("/v1/streams", json=DURABLE)).status_code == 201
            after = await examine(store)
        await store.close()
    assert "fsync everysec" in before and before.endswith("but nothing of streams with fsync: true")
    assert (after.persistence, after.warnings) == ("append-only file, fsync always", ())


@pytest.mark.anyio
async def test_streams_that_publish_together_after_a_start_are_all_confirmed() -> None:
    with running("valkey", "--appendonly", "yes") as server:
        async with serving(server.url) as client:
            for name in ("one", "two"):
                assert (await client.post("/v1/streams", json=DURABLE | {"name": name})).status_code == 201
            with redis.Redis.from_url(server.url) as other:
                other.config_set("appendfsync", "everysec")
            body = {"messages": [EVENT]}
            calls = (client.post(f"/v1/streams/{name}/messages", json=body) for name in ("one", "two") * 20)
            assert {reply.status_code for reply in await asyncio.gather(*calls)} == {200}
