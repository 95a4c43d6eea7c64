"""The HTTP API over a broker of the test's own, in the test's event loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from broker import Broker, Store
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.settings import Settings


@asynccontextmanager
async def serving(url: str, settings: Settings | None = None, timeout: float = 5.0) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over the Redis at `url`; a reply of Redis may take `timeout` seconds."""
    settings = settings or Settings()
    broker = Broker(Store.from_url(url, timeout=timeout), max_message_bytes=settings.max_message_bytes)
    await broker.start()
    tokens = AccessTokens(broker.store, settings.admin_token, OpenMode())
    await tokens.start()
    app = create_app(broker, tokens, settings)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            yield client
    finally:
        await tokens.close()
        await broker.close()
