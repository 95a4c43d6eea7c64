"""What a call without a token, or with one of too small a scope, is refused (C2). HTTP only."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from broker import Broker
from broker.access.tokens import AccessTokens
from http_api.app import create_app
from http_api.settings import Settings
from tests.contract.helpers import event, refused

pytestmark = pytest.mark.anyio


@pytest.fixture
async def guarded(broker: Broker) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    """A server with tokens: a client without one, and the tokens by name."""
    tokens = AccessTokens(broker.store)
    scopes = {"admin": ["admin"], "worker": ["consume:c"], "publisher": ["publish:events"], "gone": ["admin"]}
    texts = {name: await tokens.create(name, scope) for name, scope in scopes.items()}
    await tokens.revoke("gone")
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client, texts
    with anyio.fail_after(10):
        await tokens.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_c2_without_a_valid_token_a_call_is_refused_and_says_why(guarded: tuple[httpx.AsyncClient, dict[str, str]]) -> None:
    client, texts = guarded
    valid = f"Bearer {texts['admin']}"
    replies = [
        await client.get("/v1/streams"),
        await client.get("/v1/streams", headers={"Authorization": "Basic YTpi"}),
        await client.get("/v1/streams", headers=[("Authorization", valid), ("Authorization", valid)]),
        await client.get("/v1/streams", headers=bearer("brk_unknown")),
        await client.get("/v1/streams", headers={"Authorization": ""}),
        await client.get("/v1/streams", headers={"Authorization": "bearer "}),
        await client.get("/v1/streams", headers=bearer(texts["gone"])),
    ]
    for reply in replies:
        refused(reply, 401, "UNAUTHENTICATED")
    assert {reply.headers["www-authenticate"] for reply in replies} == {"Bearer"}
    assert len({reply.json()["summary"] for reply in replies[:6]}) == 6


async def test_c2_a_scope_that_does_not_reach_is_forbidden(guarded: tuple[httpx.AsyncClient, dict[str, str]]) -> None:
    client, texts = guarded
    admin, worker, publisher = (bearer(texts[name]) for name in ("admin", "worker", "publisher"))
    for name in ("c", "other"):
        assert (await client.post("/v1/http-consumers", json={"name": name}, headers=admin)).status_code == 201
    body = {"messages": [event(1)]}
    assert (await client.post("/v1/streams/events/messages", json=body, headers=publisher)).status_code == 200
    assert (await client.get("/v1/http-consumers/c/next", headers=worker)).status_code == 200
    assert (await client.get("/v1/http-consumers/c", headers=worker)).status_code == 200
    refused(await client.post("/v1/streams/records/messages", json=body, headers=publisher), 403, "FORBIDDEN")
    refused(await client.get("/v1/http-consumers/c/next", headers=publisher), 403, "FORBIDDEN")
    refused(await client.get("/v1/http-consumers/other/next", headers=worker), 403, "FORBIDDEN")
    refused(await client.post("/v1/streams/events/messages", json=body, headers=worker), 403, "FORBIDDEN")
    refused(await client.delete("/v1/http-consumers/c", headers=worker), 403, "FORBIDDEN")
    refused(await client.post("/v1/streams", json={"name": "s"}, headers=worker), 403, "FORBIDDEN")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/openapi.json"])
async def test_c2_health_metrics_and_description_need_no_token(guarded: tuple[httpx.AsyncClient, dict[str, str]], path: str) -> None:
    client, _ = guarded
    assert (await client.get(path)).status_code == 200
