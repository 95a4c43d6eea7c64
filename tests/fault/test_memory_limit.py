"""Redis at its memory limit: only publishing and creating are refused, and a server is ready (C3)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from broker import Store
from broker.access.tokens import AccessTokens
from broker.errors import StoreFull
from tests.support.servers import BACKENDS, running
from tests.support.serving import serving

pytestmark = pytest.mark.anyio
Json = dict[str, Any]
# Every kind of stream and consumer: each has writes of its own.
KINDS: dict[str, Json] = {
    "events": {"stream_id": "events"},
    "records": {"stream_id": "records"},
    "filtered": {"stream_id": "events", "filters": {"provider": "a"}},
    "keyed": {"stream_id": "events", "ordering": "key"},
}


class Client:
    """Calls of the API whose status is compared with what the test expects."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def __call__(self, method: str, path: str, body: Json | None = None, status: int = 200, **query: str) -> Any:
        reply = await self._http.request(method, path, json=body, params=query)
        assert reply.status_code == status, (method, path, reply.text)
        return reply.json() if "json" in reply.headers["content-type"] else reply.text

    async def take(self, consumer: str, count: int) -> list[str]:
        """Tokens of so many deliveries."""
        batch = await self("GET", f"/v1/http-consumers/{consumer}/next", batch_size=str(count))
        assert len(batch["data"]) == count
        return [row["ack_token"] for row in batch["data"]]


def message(stream: str, n: int) -> Json:
    """The n-th message of a stream: each has a key of its own."""
    return {"collection_id": "a:b", "upstream_id": str(n), "data": n}


@asynccontextmanager
async def full(backend: str) -> AsyncIterator[tuple[Client, Store]]:
    """A server over a Redis, and the Redis. `fill` it."""
    with running(backend) as server:
        store = Store.from_url(server.url)
        try:
            async with serving(server.url) as http:
                yield Client(http), store
        finally:
            await store.close()


async def limit(store: Store, size: int) -> None:
    """Set the memory limit in bytes; 1 is one that every Redis is at, 0 none."""
    await store.call("CONFIG", "SET", "maxmemory", size)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_c3_all_that_settles_frees_or_changes_works_at_the_memory_limit(backend: str, kind: str) -> None:
    stream = KINDS[kind]["stream_id"]
    consumer, dead = f"/v1/http-consumers/{kind}", f"/v1/http-consumers/{kind}/dead-letters"
    async with full(backend) as (call, store):
        await call("POST", "/v1/http-consumers", {"name": kind, "backoff_ms": [0], **KINDS[kind]}, 201)
        messages = [message(stream, n) for n in range(20)]
        await call("POST", f"/v1/streams/{stream}/messages", {"messages": messages})
        await limit(store, 1)

        one, two, three, four, five, six = await call.take(kind, 6)
        assert await call("POST", f"{consumer}/ack", {"ack_tokens": [one]}) == {"acked": 1, "stale": []}
        assert await call("POST", f"{consumer}/extend", {"ack_tokens": [two]}) == {"extended": 1, "stale": []}
        nacks: list[Json] = [
            {"ack_token": two, "outcome": "retry", "delay_ms": 60_000},
            {"ack_token": three, "outcome": "release"},
            {"ack_token": four, "outcome": "reject", "reason": "bad"},
        ]
        assert await call("POST", f"{consumer}/nack", {"nacks": nacks}) == {"nacked": 3, "stale": []}
        assert await call("POST", f"{consumer}/nack", {"ack_tokens": [five]}) == {"nacked": 1, "stale": []}
        settling = await call("POST", f"{consumer}/next", {"ack": [six], "nack": [], "batch_size": 2})
        assert (settling["settled"], len(settling["data"])) == ({"acked": 1, "nacked": 0, "stale": []}, 2)
        again = [{"ack_token": row["ack_token"], "outcome": "reject"} for row in settling["data"]]
        settling = await call("POST", f"{consumer}/next", {"nack": again, "batch_size": 3})
        assert (settling["settled"], len(settling["data"])) == ({"acked": 0, "nacked": 2, "stale": []}, 3)
        info = (await call("GET", consumer))["info"]
        assert (info["num_pending"], info["num_ack_pending"], info["num_dead"]) == (12, 3, 3)

        assert len((await call("GET", f"{consumer}/pending"))["data"]) == 3
        assert len((await call("GET", f"{consumer}/peek"))["data"]) == 10
        rows = (await call("GET", dead))["data"]
        assert len(rows) == 3
        assert await call("POST", f"{dead}/redrive", {"ids": [rows[0]["id"]]}) == {"redriven": 1, "gone": 0}
        assert await call("DELETE", dead, ids=rows[1]["id"]) == {"purged": 1}
        assert await call("POST", f"{dead}/redrive", {"reason": "rejected"}) == {"redriven": 1, "gone": 0}
        assert await call("DELETE", dead, all="true") == {"purged": 0}

        changes = {"max_ack_pending": 3, "metadata": {"a": "b" * 1000}}
        assert (await call("PATCH", consumer, changes))["max_ack_pending"] == 3
        assert (await call("PUT", consumer, {"max_ack_pending": 1000}))["max_ack_pending"] == 1000
        assert (await call("POST", f"{consumer}/pause", {"until": None}))["paused"] is True
        assert "paused" not in await call("POST", f"{consumer}/resume")
        assert (await call("POST", f"{consumer}/reset", {"deliver_policy": "all"}))["info"]["num_pending"] == 20
        assert len(await call.take(kind, 4)) == 4
        assert (await call("POST", f"{consumer}/reset", {"deliver_policy": "last"}))["info"]["num_pending"] == 1

        assert len((await call("GET", f"/v1/streams/{stream}/messages"))["data"]) == 20
        if stream == "events":
            assert (await call("PATCH", "/v1/streams/events", {"max_messages": 5}))["info"]["messages"] == 5
            assert (await call("PATCH", "/v1/streams/events", {"max_age_ms": 100_000}))["max_age_ms"] == 100_000
        changes = {"dedupe_window_ms": 5000, "metadata": {"a": 1}}
        assert (await call("PATCH", f"/v1/streams/{stream}", changes))["metadata"] == {"a": 1}
        assert len((await call("GET", "/v1/http-consumers"))["data"]) == 1
        assert len((await call("GET", "/v1/streams"))["data"]) == 2
        assert (await call("DELETE", consumer))["deleted"] is True
        assert (await call("DELETE", f"/v1/streams/{stream}", force="true"))["deleted"] is True


@pytest.mark.parametrize("backend", BACKENDS)
async def test_c3_publishing_and_creating_are_refused_and_leave_nothing(backend: str) -> None:
    async with full(backend) as (call, store):
        before = await store.call("DBSIZE")
        await limit(store, 1)
        for stream in ("events", "records"):
            refused = await call("POST", f"/v1/streams/{stream}/messages", {"messages": [message(stream, 1)]}, 507)
            assert refused["code"] == "STORE_FULL"
        later = message("events", 1) | {"deliver_at": "2100-01-01T00:00:00Z"}
        assert (await call("POST", "/v1/streams/events/messages", {"messages": [later]}, 507))["code"] == "STORE_FULL"
        assert (await call("POST", "/v1/streams", {"name": "s", "kind": "events"}, 507))["code"] == "STORE_FULL"
        for spec in KINDS.values():
            assert (await call("POST", "/v1/http-consumers", {"name": "c"} | spec, 507))["code"] == "STORE_FULL"
        await limit(store, 0)
        assert await store.call("DBSIZE") == before


@pytest.mark.parametrize("backend", BACKENDS)
async def test_c3_what_is_there_already_is_found_by_who_would_create_it(backend: str) -> None:
    async with full(backend) as (call, store):
        stream, consumer = {"name": "s", "kind": "events"}, {"name": "c", "stream_id": "s"}
        await call("POST", "/v1/streams", stream, 201)
        await call("POST", "/v1/http-consumers", consumer, 201)
        await limit(store, 1)
        assert (await call("POST", "/v1/streams", stream))["id"] == "s"
        assert (await call("POST", "/v1/http-consumers", consumer))["id"] == "c"
        await call("POST", "/v1/streams", stream | {"max_messages": 1}, 409)
        await call("POST", "/v1/http-consumers", consumer | {"stream_id": "events"}, 409)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_server_is_ready_at_the_memory_limit_and_says_that_it_takes_no_messages(backend: str) -> None:
    with running(backend) as server:
        store = Store.from_url(server.url)
        async with serving(server.url) as first:
            assert await Client(first)("GET", "/health/ready") == {"status": "ok"}
            assert "broker_publishing 1.0" in await Client(first)("GET", "/metrics")
        await limit(store, 1)
        async with serving(server.url) as second:  # it starts there
            ready = await Client(second)("GET", "/health/ready")
            assert (ready["status"], ready["publishing"], "memory limit" in ready["reason"]) == ("ok", False, True)
            assert "broker_publishing 0.0" in await Client(second)("GET", "/metrics")
            # A refusal that concerns workers too is reported, although the limit refuses the probe first.
            await store.call("CONFIG", "SET", "min-replicas-to-write", 1)
            assert (await Client(second)("GET", "/health/ready", status=503))["status"] == "unavailable"
        await store.close()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_c2_a_token_is_revoked_everywhere_at_the_memory_limit(backend: str) -> None:
    with running(backend) as server:
        store = Store.from_url(server.url)
        tokens = AccessTokens(store)
        text = await tokens.create("one", ["admin"])
        async with serving(server.url) as http:
            call, bearer = Client(http), {"authorization": f"Bearer {text}"}
            assert (await http.get("/v1/streams", headers=bearer)).status_code == 200
            await limit(store, 1)
            await tokens.revoke("one")
            while (await http.get("/v1/streams", headers=bearer)).status_code != 401:
                await call("GET", "/health/live")
            with pytest.raises(StoreFull):
                await tokens.create("two", ["admin"])
        await store.close()
