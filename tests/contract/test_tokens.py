"""What the holder of a token may do, and tokens over HTTP: C51, C65."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from broker import Broker, ConsumerSpec
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.routes import OPERATIONS, Operation
from http_api.settings import Settings
from tests.contract.helpers import one_server
from tests.support.api import Json

pytestmark = pytest.mark.anyio

SCOPES: dict[str, list[str]] = {
    "admin": ["admin"], "reader": ["read"], "worker": ["consume:c"], "manager": ["manage:c"], "any-manager": ["manage:*"],
    "other": ["manage:d"],
    "publisher": ["publish:events"],
}  # fmt: skip
# Who may do what, beside the admin; all others are forbidden.
READS = {
    "listStreams", "getStream", "listMessages", "getMessage", "listScheduled", "getRecord", "listConsumers", "getConsumer", "listPending",
    "listRetrying", "peek", "listDeadLetters", "summarizeDeadLetters", "listAudit",
}  # fmt: skip
CONSUMES = {
    "next", "nextByPost", "ack", "nack", "extend", "getConsumer", "listPending", "listRetrying", "peek", "listDeadLetters",
    "summarizeDeadLetters",
}  # fmt: skip
MANAGES = {"pauseConsumer", "resumeConsumer", "resetConsumer", "redrive", "releasePending", "updateConsumer", "replaceConsumer"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def guarded(broker: Broker) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    """A server with tokens: a client without one, and the tokens by name."""
    tokens = AccessTokens(broker.store)
    texts = {name: await tokens.create(name, scopes) for name, scopes in SCOPES.items()}
    await tokens.start()
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(broker, tokens, Settings())), base_url="http://test") as client:
        yield client, texts
    await tokens.close()


@one_server
@pytest.mark.parametrize("operation", [o for o in OPERATIONS if not o.public], ids=lambda operation: operation.name)
async def test_each_scope_reaches_what_it_says(guarded: tuple[httpx.AsyncClient, dict[str, str]], operation: Operation) -> None:
    client, texts = guarded
    expected = {"admin"}
    expected |= set(SCOPES) if operation.name == "access" else set()
    expected |= {"reader"} if operation.name in READS else set()
    expected |= {"worker"} if operation.name in CONSUMES else set()
    expected |= {"manager", "any-manager"} if operation.name in MANAGES else set()
    expected |= {"publisher"} if operation.name == "publish" else set()
    path = re.sub(r"\{(\w+).*?\}", lambda part: {"stream": "events", "consumer": "c"}.get(part[1], "x"), operation.path)
    allowed = set()
    for name in sorted(texts, key="admin".__eq__):  # the admin last: it may delete
        reply = await client.request(operation.method, path, json={} if operation.body else None, headers=bearer(texts[name]))
        assert reply.status_code != 401
        if reply.status_code != 403:
            allowed.add(name)
    assert allowed == expected


async def test_c65_tokens_over_http(guarded: tuple[httpx.AsyncClient, dict[str, str]]) -> None:
    client, texts = guarded
    admin = bearer(texts["admin"])
    reply = await client.post("/v1/tokens", json={"name": "ci", "scopes": ["read", "publish:*"], "expires_in": "5m"}, headers=admin)
    made = reply.json()
    assert (reply.status_code, reply.headers["cache-control"]) == (201, "no-store")
    assert {name: made[name] for name in ("name", "scopes")} == {"name": "ci", "scopes": ["publish:*", "read"]}
    assert 290 < (datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)).total_seconds() <= 301
    await _until(client, "/v1/streams", made["token"], 200)
    rows: list[Json] = (await client.get("/v1/tokens", headers=admin)).json()["data"]
    assert [row["name"] for row in rows] == sorted([*SCOPES, "ci"])
    assert {name: row for row in rows for name in (row["name"],)}["ci"] == {
        name: made[name] for name in ("name", "scopes", "created_at", "expires_at")
    }
    assert made["token"] not in (await client.get("/v1/tokens", headers=admin)).text
    assert (await client.delete("/v1/tokens/ci", headers=admin)).json() == {"id": "ci", "deleted": True}
    await _until(client, "/v1/streams", made["token"], 401)
    gone = await client.delete("/v1/tokens/ci", headers=admin)
    assert (gone.status_code, gone.json()["code"]) == (404, "NOT_FOUND")


async def test_c65_an_expired_token_is_refused(guarded: tuple[httpx.AsyncClient, dict[str, str]]) -> None:
    client, texts = guarded
    reply = await client.post("/v1/tokens", json={"name": "brief", "scopes": ["read"], "expires_in": 300}, headers=bearer(texts["admin"]))
    await _until(client, "/v1/streams", reply.json()["token"], 401)
    refused = await client.get("/v1/streams", headers=bearer(reply.json()["token"]))
    assert "expired" in refused.json()["summary"]


async def _until(client: httpx.AsyncClient, path: str, token: str | None, status: int) -> None:
    """A change of the tokens reaches a server within milliseconds."""
    for _ in range(1000):
        if (await client.get(path, headers=bearer(token) if token else {})).status_code == status:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the answer never became {status}")


@one_server
@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"}, {"scopes": ["read"]}, {"name": "x", "scopes": []}, {"name": "x", "scopes": ["write"]},
        {"name": "a b", "scopes": ["read"]},
        {"name": "x", "scopes": ["manage"]}, {"name": "x", "scopes": ["read:c"]}, {"name": "admin", "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "expires_in": 0}, {"name": "x", "scopes": ["read"], "expires_in": "soon"},
        {"name": "x", "scopes": ["read"], "expires_in": -5}, {"name": "x", "scopes": ["read"], "expires": "5m"},
    ],
)  # fmt: skip
async def test_c65_what_a_token_may_not_be(guarded: tuple[httpx.AsyncClient, dict[str, str]], body: Json) -> None:
    client, texts = guarded
    reply = await client.post("/v1/tokens", json=body, headers=bearer(texts["admin"]))
    assert (reply.status_code, reply.json()["code"]) == (422, "VALIDATION_FAILED")
    assert len((await client.get("/v1/tokens", headers=bearer(texts["admin"]))).json()["data"]) == len(SCOPES)


async def test_c65_a_wrong_scope_is_named_where_it_stands(guarded: tuple[httpx.AsyncClient, dict[str, str]]) -> None:
    client, texts = guarded
    reply = await client.post("/v1/tokens", json={"name": "x", "scopes": ["read", "write", "read:c"]}, headers=bearer(texts["admin"]))
    assert list(reply.json()["validation_errors"]) == ["scopes[1]", "scopes[2]"]


async def test_c65_the_first_token_shuts_an_open_server(broker: Broker) -> None:
    tokens = AccessTokens(broker.store, open_mode=OpenMode())
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        made = (await client.post("/v1/tokens", json={"name": "first", "scopes": ["admin"]})).json()
        await _until(client, "/v1/streams", made["token"], 200)
        await _until(client, "/v1/streams", None, 401)
    await tokens.close()
