"""A server without tokens is open, and once shut stays shut (C2). HTTP only."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from broker import Broker, Store, keys
from broker.access.tokens import AccessTokens, OpenMode
from broker.errors import StoreUnavailable
from http_api.app import create_app
from http_api.settings import Settings
from tests.support.servers import everywhere

pytestmark = pytest.mark.anyio

OPEN, REFUSED = 200, 401


class Server:
    """A server over the test's Redis, seen by a client without a token."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def status(self, token: str | None = None) -> int:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return (await self._client.get("/v1/streams", headers=headers)).status_code

    async def comes_to(self, status: int, token: str | None = None) -> None:
        """Return when it answers so."""
        deadline = time.monotonic() + 5
        while await self.status(token) != status:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(broker: Broker, open_mode: OpenMode | None, admin_token: str | None = None) -> AsyncIterator[Server]:
    """A server that is started now; what it knows of tokens is its own."""
    tokens = AccessTokens(broker.store, admin_token, open_mode)
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            yield Server(client)
    finally:
        await tokens.close()


async def test_c2_the_first_token_shuts_an_open_server_and_revoking_the_last_does_not_open_it(broker: Broker) -> None:
    tokens = AccessTokens(broker.store)
    async with serving(broker, OpenMode()) as server:
        assert await server.status() == OPEN
        text = await tokens.create("a", ["admin"])
        await server.comes_to(REFUSED)
        await server.comes_to(OPEN, text)
        await tokens.revoke("a")
        await server.comes_to(REFUSED, text)
        assert await server.status() == REFUSED


async def test_c2_a_token_made_and_revoked_at_once_shuts_all_servers(broker: Broker) -> None:
    tokens = AccessTokens(broker.store)
    async with serving(broker, OpenMode()) as first, serving(broker, OpenMode()) as second:
        assert [await first.status(), await second.status()] == [OPEN, OPEN]
        await tokens.create("a", ["admin"])
        await tokens.revoke("a")
        await first.comes_to(REFUSED)
        await second.comes_to(REFUSED)


async def test_c2_a_server_started_where_all_tokens_were_revoked_is_not_open(broker: Broker) -> None:
    tokens = AccessTokens(broker.store)
    await tokens.create("a", ["admin"])
    await tokens.revoke("a")
    async with serving(broker, OpenMode()) as server:
        assert await server.status() == REFUSED
        text = await tokens.create("b", ["admin"])
        await server.comes_to(OPEN, text)


async def test_c2_a_redis_that_lost_its_tokens_opens_nothing(broker: Broker, store: Store) -> None:
    tokens = AccessTokens(broker.store)
    text = await tokens.create("a", ["admin"])
    async with serving(broker, OpenMode()) as server:
        await server.comes_to(OPEN, text)
        await everywhere(store, "FLUSHALL")
        await everywhere(store, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # the servers reload the table
        await server.comes_to(REFUSED, text)
        assert await server.status() == REFUSED


async def test_c2_a_revocation_is_learned_though_redis_cannot_be_read_at_once(
    broker: Broker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = await AccessTokens(broker.store).create("a", ["admin"])
    async with serving(broker, OpenMode()) as server:
        await server.comes_to(OPEN, text)
        fails, whole_table = [True, True], AccessTokens._rows

        async def failing(self: AccessTokens) -> dict[str, bytes]:
            if fails:
                fails.pop()
                raise StoreUnavailable("gone for a moment")
            return await whole_table(self)

        monkeypatch.setattr(AccessTokens, "_rows", failing)
        await store.call("DEL", keys.TOKENS)
        await store.call("XADD", keys.TOKEN_CHANGES, "*", "changed", "1")
        await server.comes_to(REFUSED, text)
    assert not fails


@pytest.mark.parametrize("row", [b"", b"{}", b"\xff", b'{"name":"b","scopes":"admin","created_at":""}'])
async def test_c2_a_row_that_is_no_token_lets_nobody_in_and_hides_nothing(broker: Broker, store: Store, row: bytes) -> None:
    await store.call("HSET", keys.TOKENS, b"\xfe", row)
    async with serving(broker, OpenMode()) as server:
        assert await server.status() == REFUSED
        tokens = AccessTokens(broker.store)
        text = await tokens.create("a", ["admin"])
        await server.comes_to(OPEN, text)
        assert [token.name for token in (await tokens.list()).values()] == ["a"]
        await tokens.revoke("a")
        await server.comes_to(REFUSED, text)


@pytest.mark.parametrize("admin_token", [None, "swordfish"])
async def test_c2_a_server_without_a_door_is_never_open(broker: Broker, admin_token: str | None) -> None:
    async with serving(broker, None, admin_token) as server:
        assert await server.status() == REFUSED


async def test_c2_a_server_with_an_admin_token_is_never_open(broker: Broker) -> None:
    async with serving(broker, OpenMode(), "swordfish") as server:
        assert (await server.status(), await server.status("swordfish")) == (REFUSED, OPEN)


async def test_c2_a_process_started_again_stays_shut_whatever_redis_holds_by_then(broker: Broker, store: Store, tmp_path: Path) -> None:
    mark = tmp_path / "open"
    mark.touch()
    async with serving(broker, OpenMode(mark)) as first:
        async with serving(broker, OpenMode(mark)) as second:
            assert [await first.status(), await second.status()] == [OPEN, OPEN]
        async with serving(broker, OpenMode(mark)) as again:
            assert await again.status() == OPEN
        await AccessTokens(broker.store).create("a", ["admin"])
        await first.comes_to(REFUSED)
    await everywhere(store, "FLUSHALL")
    async with serving(broker, OpenMode(mark)) as again:
        assert await again.status() == REFUSED
