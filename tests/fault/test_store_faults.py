"""What a client sees when Redis fails: 503, 504, 507, and the way back (C3)."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import redis

from broker import Broker, ConsumerSpec, Store
from broker.errors import StoreUnavailable
from broker.store.embedded import Embedded
from tests.support.cutting import proxy
from tests.support.replicated import guarded
from tests.support.servers import BACKENDS, binary_of, running
from tests.support.serving import serving

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("backend", BACKENDS)]
EVENT = {"messages": [{"collection_id": "a:b", "data": 1}]}
PUBLISH = "/v1/streams/events/messages"


def problem(reply: httpx.Response) -> tuple[int, str]:
    """Status and code of an error of the one shape."""
    body = reply.json()
    assert set(body) == {"code", "summary"}
    assert not any(word in body["summary"] for word in ("EVALSHA", "broker:{", "Traceback", "script"))
    return reply.status_code, body["code"]


async def count(client: httpx.AsyncClient) -> int:
    """How many events the stream holds."""
    return int((await client.get("/v1/streams/events")).json()["info"]["messages"])


async def test_c3_redis_down_is_503_with_retry_after_and_heals_by_itself(backend: str) -> None:
    with running(backend) as first:
        async with serving(first.url) as client:
            assert (await client.post(PUBLISH, json=EVENT)).status_code == 200
            first.stop()
            reply = await client.post(PUBLISH, json=EVENT)
            assert problem(reply) == (503, "STORE_UNAVAILABLE")
            assert reply.headers["retry-after"] == "1"
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
            assert (await client.get("/health/live")).status_code == 200
            second = Embedded(first.data_dir, first._binary, ("--appendonly", "no"))
            second.start()
            try:
                assert (await client.get("/health/ready")).status_code == 200
                await client.post("/v1/streams", json={"name": "events", "kind": "events"})
                assert (await client.post(PUBLISH, json=EVENT)).status_code == 200
            finally:
                second.stop()


async def test_c3_a_connection_lost_after_the_command_is_504_and_it_may_have_happened(backend: str) -> None:
    with running(backend) as server:
        async with proxy(server.socket) as (between, url), serving(url) as client:
            await client.post(PUBLISH, json=EVENT)
            between.cut_at(b"EVALSHA", deliver=True)
            assert problem(await client.post(PUBLISH, json=EVENT)) == (504, "OUTCOME_UNKNOWN")
            assert await count(client) == 2
            between.cut_at(b"EVALSHA", deliver=False)
            assert problem(await client.post(PUBLISH, json=EVENT)) == (504, "OUTCOME_UNKNOWN")
            assert await count(client) == 2
            assert (await client.post(PUBLISH, json=EVENT)).status_code == 200


async def test_c3_a_silent_redis_is_504_after_the_time_limit(backend: str) -> None:
    with running(backend) as server:
        async with serving(server.url, timeout=0.3) as client:
            await client.post(PUBLISH, json=EVENT)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            try:
                assert problem(await client.post(PUBLISH, json=EVENT)) == (504, "OUTCOME_UNKNOWN")
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert (await client.post(PUBLISH, json=EVENT)).status_code == 200


async def test_c3_a_full_redis_is_507_and_nothing_happened_and_acks_still_work(backend: str) -> None:
    with running(backend) as server:
        async with serving(server.url) as client:
            await client.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
            await client.post(PUBLISH, json=EVENT)
            delivered = (await client.get("/v1/http-consumers/c/next")).json()["data"]
            before = await count(client)
            await _config(server, "maxmemory", "1mb")
            assert problem(await client.post(PUBLISH, json=EVENT)) == (507, "STORE_FULL")
            reply = await client.get("/health/ready")
            assert (reply.status_code, reply.json()["status"], reply.json()["publishing"]) == (200, "ok", False)
            acked = await client.post("/v1/http-consumers/c/ack", json={"ack_tokens": [d["ack_token"] for d in delivered]})
            assert acked.json() == {"acked": 1, "stale": []}
            await _config(server, "maxmemory", "0")
            assert await count(client) == before


@pytest.mark.parametrize("first", [0, 500])
async def test_c13_lines_that_redis_refuses_say_what_is_stored(backend: str, first: int) -> None:
    """Not that nothing happened."""
    line = b'{"collection_id": "a:b", "data": 1}\n'
    with running(backend) as server:
        for setting, value, then, answer in (
            ("maxmemory", "1mb", "0", (507, "STORE_FULL", "Redis is at its memory limit")),
            ("min-replicas-to-write", "1", "0", (503, "STORE_UNAVAILABLE", "Redis does not take commands at the moment")),
        ):
            async with serving(server.url) as client:
                before = await count(client)

                async def lines(setting: str = setting, value: str = value, upto: int = before + first) -> AsyncIterator[bytes]:
                    yield line * first
                    while await count(client) < upto:
                        pass
                    await _config(server, setting, value)
                    yield line * 300

                reply = await client.post(PUBLISH, content=lines(), headers={"Content-Type": "application/x-ndjson"})
                await _config(server, setting, then)
                assert (*problem(reply), reply.json()["summary"]) == (
                    *answer[:2], f"{answer[2]}; {first} messages before it are stored, and nothing after them."
                )  # fmt: skip
                assert await count(client) == before + first


RECORD = {"messages": [{"id": "r", "collection_id": "a:b", "data": 1}]}
CALLS: dict[str, Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]] = {
    "ready": lambda client: client.get("/health/ready"),
    "publish": lambda client: client.post(PUBLISH, json=EVENT),
    "list": lambda client: client.get("/v1/streams"),
    "consumer": lambda client: client.post("/v1/http-consumers", json={"name": "c"}),
    "record": lambda client: client.post("/v1/streams/records/messages", json=RECORD),
    "stream": lambda client: client.get("/v1/streams/records"),
}


@pytest.mark.parametrize("call", CALLS)
async def test_c8_a_redis_that_comes_back_empty_has_the_first_streams_again(backend: str, call: str) -> None:
    with running(backend) as first:
        async with serving(first.url) as client:
            await client.post(PUBLISH, json=EVENT)
            await client.post("/v1/streams/records/messages", json=RECORD)
            first.stop()
            second = Embedded(first.data_dir, first._binary, ("--appendonly", "no"))
            second.start()
            try:
                reply = await CALLS[call](client)
                assert reply.status_code in (200, 201)
                names = [row["id"] for row in (await client.get("/v1/streams")).json()["data"]]
                assert names == ["events", "records"]
                await client.delete("/v1/streams/records", params={"force": "true"})
                assert (await client.get("/v1/streams/records")).status_code == 404  # who deletes one does not get it again
            finally:
                second.stop()


async def test_c16_after_lost_writes_message_ids_go_on_where_updated_idx_comes_again(backend: str) -> None:
    """As the README tells workers."""
    with running(backend) as server:
        async with serving(server.url) as client:

            async def put(data: int) -> tuple[tuple[int, ...], int]:
                row = {"id": "r", "collection_id": "a:b", "data": data}
                await client.post("/v1/streams/records/messages", json={"messages": [row]})
                [found] = (await client.get("/v1/streams/records/messages")).json()["data"]
                return tuple(map(int, found["id"].split("-"))), found["record"]["updated_idx"]

            await put(1)
            with redis.Redis.from_url(server.url) as plain:
                before = {key: plain.dump(key) for key in plain.keys("broker:{records}*")}
                id_, idx = await put(2)
                for key, value in before.items():
                    plain.restore(key, 0, value, replace=True)
            later_id, later_idx = await put(3)
            assert later_id > id_
            assert later_idx == idx


async def test_c3_a_read_only_replica_is_503(backend: str) -> None:
    with running(backend) as server:
        async with serving(server.url) as client:
            await client.post(PUBLISH, json=EVENT)
            await _command(server, "REPLICAOF", "127.0.0.1", "1")
            assert problem(await client.post(PUBLISH, json=EVENT)) == (503, "STORE_UNAVAILABLE")
            await _command(server, "REPLICAOF", "NO", "ONE")
            assert (await client.post(PUBLISH, json=EVENT)).status_code == 200


async def test_c3_a_replica_that_was_promoted_elsewhere_is_left_for_a_new_connection(backend: str) -> None:
    with running(backend) as server:
        store = Store.from_url(server.url)
        await store.call("PING")
        [before] = store._links.values()
        await _command(server, "REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailable):
            await store.call("SET", "a", 1)
        await store.call("PING")
        assert [link is before for link in store._links.values()] == [False]
        await store.close()


async def test_a_user_who_may_not_begin_transactions_gets_each_message_once(backend: str) -> None:
    with running(backend) as server:
        async with Broker.from_url(server.url) as admin:
            await admin.consumers.create(ConsumerSpec(name="c", stream_id="events"))
            await admin.publish("events", [{"collection_id": "a:b", "data": n} for n in range(6)])
            await admin.store.call("ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-multi")
            async with Broker.from_url(server.url.replace("unix://", "unix://plain:secret@")) as broker:
                ids = [d.id for _ in range(3) for d in (await broker.next("c", 2)).deliveries]
            assert len(set(ids)) == 6
            assert (await admin.consumers.get("c")).info.num_ack_pending == 6


async def test_callers_share_one_attempt_to_connect_and_its_failure(backend: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = Store.from_url(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout=0.5)
        started = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(store.call("PING") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert asyncio.get_running_loop().time() - started < 5
        await store.close()


async def test_a_silent_sentinel_does_not_keep_the_others_from_being_asked(backend: str) -> None:
    with guarded(binary_of(backend)) as service, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = Store.from_url(service.url.replace("//", f"//127.0.0.1:{silent.getsockname()[1]},"))
        assert await store.call("PING") == b"PONG"
        await store.close()


async def test_c3_a_redis_that_cannot_write_to_disk_is_503(backend: str) -> None:
    with running(backend) as server:
        async with serving(server.url) as client:
            await client.post(PUBLISH, json=EVENT)
            await _config(server, "min-replicas-to-write", "1")
            assert problem(await client.post(PUBLISH, json=EVENT)) == (503, "STORE_UNAVAILABLE")


async def test_c21_a_waiting_call_outlives_a_restart_of_redis(backend: str) -> None:
    with running(backend, "--appendonly", "yes") as server:
        async with serving(server.url) as client:
            await client.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
            while not (before := await _blocked(server)):  # the read of changed tokens
                pass
            waiting = asyncio.ensure_future(client.get("/v1/http-consumers/c/next", params={"wait_for": "20s"}))
            while await _blocked(server) == before:  # a look that is cut is answered 504: it may have delivered something
                pass
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            while (await client.get("/health/ready")).status_code != 200:
                pass
            await client.post(PUBLISH, json=EVENT)
            reply = await waiting
            assert (reply.status_code, len(reply.json()["data"])) == (200, 1)


async def _blocked(server: Embedded) -> int:
    """How many reads block in Redis."""
    store = Store.from_url(server.url)
    clients: bytes = await store.call("INFO", "clients")
    await store.close()
    (count,) = [line for line in clients.split() if line.startswith(b"blocked_clients:")]
    return int(count.partition(b":")[2])


async def _config(server: Embedded, name: str, value: str) -> None:
    await _command(server, "CONFIG", "SET", name, value)


async def _command(server: Embedded, *args: str) -> None:
    store = Store.from_url(server.url)
    await store.call(*args)
    await store.close()
