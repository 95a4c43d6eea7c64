"""The audit log: each change by an operator, by whom, and no others. HTTP only."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker import Broker, Store
from broker.access.audit import ENTRIES
from broker.access.tokens import AccessTokens
from http_api.app import create_app
from http_api.monitoring.logs import _Json
from http_api.routes import AUDITED, OPERATIONS
from http_api.settings import Settings
from tests.contract.helpers import event, refused
from tests.support.exposition import rows

pytestmark = pytest.mark.anyio

BY_WORKERS = {"next", "nextByPost", "ack", "nack", "extend", "publish"}
C, S = "/v1/http-consumers", "/v1/streams"
LETTERS = f"{C}/c/dead-letters"
# A call, what it is of, and the object that it changes.
CALLS: list[tuple[str, str, Any, str, str]] = [
    ("POST", S, {"name": "s", "kind": "events"}, "createStream", "stream s"),
    ("PATCH", f"{S}/s", {"max_messages": 50}, "updateStream", "stream s"),
    ("POST", C, {"name": "c", "stream_id": "s"}, "createConsumer", "consumer c"),
    ("PATCH", f"{C}/c", {"max_deliver": 7}, "updateConsumer", "consumer c"),
    ("PUT", f"{C}/c", {"max_deliver": 8}, "replaceConsumer", "consumer c"),
    ("POST", f"{C}/c/pause", {}, "pauseConsumer", "consumer c"),
    ("POST", f"{C}/c/resume", None, "resumeConsumer", "consumer c"),
    ("POST", f"{C}/c/reset", {"deliver_policy": "all"}, "resetConsumer", "consumer c"),
    ("POST", f"{C}/c/pending/release", {"worker": "w"}, "releasePending", "consumer c"),
    ("POST", f"{LETTERS}/redrive", {"reason": "rejected"}, "redrive", "consumer c"),
    ("DELETE", f"{LETTERS}?all=true", None, "purgeDeadLetters", "consumer c"),
    ("DELETE", f"{S}/s/scheduled/later", None, "cancelScheduled", "event later of stream s"),
    ("POST", "/v1/tokens", {"name": "t", "scopes": ["read"]}, "createToken", "token t"),
    ("DELETE", "/v1/tokens/t", None, "revokeToken", "token t"),
    ("DELETE", f"{C}/c", None, "deleteConsumer", "consumer c"),
    ("DELETE", f"{S}/s?force=true", None, "deleteStream", "stream s"),
]
SCOPES = {"ada": ["admin"], "carl": ["manage:*"], "reader": ["read"], "worker": ["consume:*", "publish:*"]}


class Guarded:
    """A server with tokens, and their bearers."""

    def __init__(self, client: httpx.AsyncClient, texts: dict[str, str]) -> None:
        self.client, self._texts = client, texts

    async def call(self, who: str, method: str, path: str, body: Any = None, request_id: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._texts[who]}"} | ({"X-Request-Id": request_id} if request_id else {})
        return await self.client.request(method, path, headers=headers, **({} if body is None else {"json": body}))

    async def entries(self, query: str = "") -> list[dict[str, Any]]:
        reply = await self.call("reader", "GET", f"/v1/audit{query}")
        assert reply.status_code == 200
        found: list[dict[str, Any]] = reply.json()["data"]
        return found


@pytest.fixture
async def guarded(broker: Broker) -> AsyncIterator[Guarded]:
    tokens = AccessTokens(broker.store)
    texts = {name: await tokens.create(name, scopes) for name, scopes in SCOPES.items()}
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield Guarded(client, texts)
    await tokens.close()


def test_every_call_that_changes_something_is_of_a_worker_or_is_noted() -> None:
    changing = {operation.name for operation in OPERATIONS if operation.method != "GET"}
    assert changing - BY_WORKERS == AUDITED == {what for _, _, _, what, _ in CALLS}


async def test_each_change_is_an_entry_and_a_line(guarded: Guarded, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for n, (method, path, body, what, _) in enumerate(CALLS):
        if what == "cancelScheduled":
            late = event(1, id="later", deliver_at="2099-01-01T00:00:00Z")
            await guarded.call("worker", "POST", f"{S}/s/messages", {"messages": [late]})
        who = "carl" if path.startswith(f"{C}/c") and method in ("POST", "PATCH", "PUT") else "ada"
        reply = await guarded.call(who, method, path, body, f"r{n}")
        assert reply.status_code in (200, 201), reply.text

    found = await guarded.entries()

    entries = [(e["who"], e["what"], e["object"], e["request_id"], e["outcome"]) for e in reversed(found)]
    whos = ["carl" if 3 <= n <= 9 else "ada" for n in range(len(CALLS))]
    assert entries == [(whos[n], what, of, f"r{n}", "done") for n, (*_, what, of) in enumerate(CALLS)]
    assert [e["time"] for e in found] == sorted((e["time"] for e in found), reverse=True)
    lines = [json.loads(_Json().format(line)) for line in caplog.records if line.name == "broker.audit"]
    logged = [(line["who"], line["what"], line["object"], line["request_id"], line["outcome"], line["level"]) for line in lines]
    assert logged == [(*row[:2], row[2].removeprefix("event later of "), *row[3:], "info") for row in entries]


async def test_what_changes_nothing_is_no_entry(guarded: Guarded) -> None:
    calls: list[tuple[str, str, str, Any, int]] = [
        ("ada", "POST", S, {"name": "events", "kind": "events"}, 200),  # it is there already
        ("ada", "POST", S, {"name": "events", "kind": "records"}, 409),
        ("ada", "POST", S, {"nam": "x"}, 422),
        ("carl", "POST", S, {"name": "x"}, 403),
        ("ada", "DELETE", f"{C}/nobody", None, 404),
        ("ada", "DELETE", "/v1/tokens/nobody", None, 404),
        ("worker", "POST", f"{S}/events/messages", {"messages": [event(1)]}, 200),
        ("ada", "GET", S, None, 200),
    ]
    for who, method, path, body, status in calls:
        assert (await guarded.call(who, method, path, body)).status_code == status, path
    assert await guarded.entries() == []
    await guarded.call("ada", "POST", C, {"name": "c", "stream_id": "events"})
    await guarded.call("ada", "POST", f"{LETTERS}/redrive", {"dry_run": True})
    await guarded.call("worker", "GET", f"{C}/c/next")
    assert [entry["what"] for entry in await guarded.entries()] == ["createConsumer"]


async def test_a_made_up_name_is_in_the_entry(guarded: Guarded) -> None:
    name = (await guarded.call("ada", "POST", C, {})).json()["name"]
    assert [entry["object"] for entry in await guarded.entries()] == [f"consumer {name}"]


async def test_who_may_read_it_and_its_pages(guarded: Guarded) -> None:
    for n in range(5):
        await guarded.call("ada", "POST", S, {"name": f"s{n}"})
    for who in ("carl", "worker"):
        refused(await guarded.call(who, "GET", "/v1/audit"), 403, "FORBIDDEN")
    refused(await guarded.call("ada", "GET", "/v1/audit?after=x"), 400, "INVALID_REQUEST")
    pages, after = [], ""
    while True:
        page = (await guarded.call("ada", "GET", f"/v1/audit?limit=2{after}")).json()
        pages.append([entry["object"] for entry in page["data"]])
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert pages == [["stream s4", "stream s3"], ["stream s2", "stream s1"], ["stream s0"]]


async def test_an_open_server_notes_that_there_was_no_token(http: httpx.AsyncClient) -> None:
    await http.post(S, json={"name": "s"})
    assert [entry["who"] for entry in (await http.get("/v1/audit")).json()["data"]] == ["(no token)"]


async def test_the_log_keeps_what_redis_does_not_take(guarded: Guarded, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async def lost_so_far() -> float:
        return rows((await guarded.client.get("/metrics")).text)["broker_audit_lost_total",]

    before = await lost_so_far()
    await store.call("SET", "broker:audit", "no stream")
    reply = await guarded.call("ada", "POST", S, {"name": "s"}, "mine")
    assert reply.status_code == 201, "the change was made, and is answered"
    lost = [json.loads(_Json().format(line)) for line in caplog.records if line.name == "broker.audit" and line.levelname == "WARNING"]
    logged = [[line[name] for name in ("who", "what", "object", "request_id")] for line in lost]
    assert logged == [["ada", "createStream", "stream s", "mine"]]
    assert await lost_so_far() == before + 1


async def test_it_is_capped(broker: Broker, store: Store) -> None:
    many = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'who', 'ada') end"
    await store.call("EVAL", many, 1, "broker:audit", 2 * ENTRIES)
    await broker.audit.write("ada", "createStream", "stream s")
    assert ENTRIES <= await store.call("XLEN", "broker:audit") <= ENTRIES + 100
    assert (await broker.audit.page())[0][0].object == "stream s"
