"""Publishes that are answered when replicas or the disk have them (stream settings `replicas` and `fsync`)."""

import asyncio
from typing import Any

import httpx
import pytest

from broker import Store
from broker.streams.confirmation import Durability, Mark
from tests.support.replicated import guarded, replicated
from tests.support.servers import BACKENDS, binary_of, running
from tests.support.serving import serving

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", BACKENDS)]
EVENT = {"collection_id": "a:b", "data": 1}


async def publish(client: httpx.AsyncClient, stream: str, *messages: dict[str, Any]) -> tuple[int, Any]:
    """Status and answer."""
    reply = await client.post(f"/v1/streams/{stream}/messages", json={"messages": list(messages)})
    return reply.status_code, reply.json()


async def test_a_publish_is_answered_when_the_replica_has_it(backend: str) -> None:
    with replicated(binary_of(backend)) as (primary, replica):
        async with serving(primary.url) as client:
            created = await client.post("/v1/streams", json={"name": "d", "kind": "events", "replicas": 1})
            assert (created.status_code, created.json()["replicas"]) == (201, 1)
            for n in range(1, 6):
                status, answer = await publish(client, "d", EVENT)
                assert (status, answer["info"]) == (200, {"created": 1})
                assert replica.run("XLEN", "broker:{d}:log") == n


async def test_without_its_replica_it_is_504_with_ids_by_which_it_may_be_repeated(backend: str) -> None:
    with replicated(binary_of(backend)) as (primary, replica):
        async with serving(primary.url) as client:
            await client.post("/v1/streams", json={"name": "d", "kind": "events", "replicas": 1})
            await client.post("/v1/streams", json={"name": "r", "replicas": 1})
            replica.kill()
            events, records = await asyncio.gather(publish(client, "d", EVENT, EVENT), publish(client, "r", EVENT | {"upstream_id": "1"}))
            assert [events[0], records[0]] == [504, 504]
            assert set(events[1]) == {"code", "summary", "data"}
            assert events[1]["code"] == "OUTCOME_UNKNOWN"
            replica.start()
            replica.run("REPLICAOF", "127.0.0.1", primary.port)
            again = [EVENT | {"id": row["id"]} for row in events[1]["data"]]
            status, answer = await publish(client, "d", *again)
            assert (status, answer["info"]) == (200, {"duplicate": 2})
            assert [row["message_id"] for row in answer["data"]] == [row["message_id"] for row in events[1]["data"]]
            assert replica.run("XLEN", "broker:{d}:log") == 2
            assert await publish(client, "r", EVENT | {"upstream_id": "1"}) == (
                200, {"data": [records[1]["data"][0] | {"status": "unchanged"}], "info": {"unchanged": 1}},
            )  # fmt: skip


async def test_any_replica_may_take_over_so_all_that_follow_have_it(backend: str) -> None:
    with guarded(binary_of(backend), replicas=2) as service:
        service.settle()
        _, *replicas = service.servers
        async with serving(service.url) as client:
            await client.post("/v1/streams", json={"name": "d", "kind": "events", "replicas": 1})
            for n in range(1, 101):
                assert (await publish(client, "d", EVENT))[0] == 200
                assert [replica.run("XLEN", "broker:{d}:log") for replica in replicas] == [n, n]
            replicas[0].hang()  # one that does not answer holds up nobody for long
            assert (await publish(client, "d", EVENT))[0] == 200


async def test_callers_that_come_together_are_each_confirmed(backend: str) -> None:
    with replicated(binary_of(backend)) as (primary, replica):
        async with serving(primary.url) as client:
            await client.post("/v1/streams", json={"name": "d", "kind": "events", "replicas": 1})
            answers = await asyncio.gather(*(publish(client, "d", EVENT) for _ in range(50)))
            assert {status for status, _ in answers} == {200}
            assert replica.run("XLEN", "broker:{d}:log") == 50


async def test_a_server_that_never_had_the_publish_confirms_nothing(backend: str) -> None:
    with replicated(binary_of(backend)) as (primary, _):
        store = Store.from_url(primary.url)
        durability = Durability(store)
        await store.call("SET", "broker:{d}:mark:here", 1)
        assert await durability.confirm("d", Mark(1, False, "here")) is True
        assert await durability.confirm("d", Mark(1, False, "lost-in-a-failover")) is False
        await durability.close()
        await store.close()


async def test_lines_stop_at_the_chunk_that_is_not_confirmed(backend: str) -> None:
    with replicated(binary_of(backend)) as (primary, replica):
        async with serving(primary.url) as client:
            await client.post("/v1/streams", json={"name": "d", "kind": "events", "replicas": 1})
            replica.kill()
            headers = {"content-type": "application/x-ndjson"}
            reply = await client.post("/v1/streams/d/messages", content=b'{"collection_id":"a:b","data":1}\n' * 3, headers=headers)
            assert (reply.status_code, reply.json()["code"], len(reply.json()["data"])) == (504, "OUTCOME_UNKNOWN", 3)


async def test_a_change_of_the_setting_holds_for_the_next_publish_on_every_server(backend: str) -> None:
    with running(backend) as server:
        async with serving(server.url) as one, serving(server.url) as other:
            assert (await publish(other, "events", EVENT))[0] == 200
            changed = await one.patch("/v1/streams/events", json={"replicas": 1})
            assert (changed.status_code, changed.json()["replicas"]) == (200, 1)
            assert (await publish(other, "events", EVENT))[0] == 504
            assert "replicas" not in (await one.patch("/v1/streams/events", json={"replicas": 0})).json()
            assert (await publish(other, "events", EVENT))[0] == 200


async def test_fsync_is_waited_for_where_the_server_can_tell(backend: str) -> None:
    with running(backend, "--appendonly", "yes") as server:
        async with serving(server.url) as client:
            created = await client.post("/v1/streams", json={"name": "f", "kind": "events", "fsync": True})
            if backend == "redis":  # 7.0 has no WAITAOF
                assert (created.status_code, list(created.json()["validation_errors"])) == (422, ["fsync"])
                return
            assert (created.status_code, created.json()["fsync"]) == (201, True)
            status, answer = await publish(client, "f", EVENT)
            assert (status, answer["info"]) == (200, {"created": 1})
    with running(backend) as server:
        async with serving(server.url) as client:
            refused = await client.post("/v1/streams", json={"name": "f", "kind": "events", "fsync": True})
            assert (refused.status_code, list(refused.json()["validation_errors"])) == (422, ["fsync"])


async def test_c9_the_settings_are_fields_like_the_others(backend: str) -> None:
    with running(backend) as server:
        async with serving(server.url) as client:
            plain = {"name": "s", "kind": "events"}
            assert [(await client.post("/v1/streams", json=plain)).status_code for _ in range(2)] == [201, 200]
            assert (await client.post("/v1/streams", json=plain | {"replicas": 1})).status_code == 409
            assert (await client.post("/v1/streams", json=plain | {"replicas": 0, "fsync": False})).status_code == 200
            unsafe = await client.post("/v1/streams", json={"name": "u", "kind": "events", "replicas": 1, "dedupe_window_ms": 0})
            assert (unsafe.status_code, list(unsafe.json()["validation_errors"])) == (422, ["dedupe_window_ms"])
            await client.patch("/v1/streams/s", json={"dedupe_window_ms": 0})
            unsafe = await client.patch("/v1/streams/s", json={"replicas": 1})
            assert (unsafe.status_code, list(unsafe.json()["validation_errors"])) == (422, ["dedupe_window_ms"])
            for wrong in ({"replicas": -1}, {"replicas": "1"}, {"fsync": 1}):
                refused = await client.patch("/v1/streams/s", json=wrong)
                assert (refused.status_code, list(refused.json()["validation_errors"])) == (422, list(wrong))
