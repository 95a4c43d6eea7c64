"""Health, metrics and the API description: no token needed (section 9)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BrokerError
from http_api import metrics
from http_api.codec import answer
from http_api.context import context
from http_api.shapes import Health

# A scrape waits no longer for a Redis that does not answer.
_SCRAPE_S = 1.0


async def live(request: Request) -> Response:
    """GET /health/live: the process answers."""
    return answer(request, Health("ok"))


async def ready(request: Request) -> Response:
    """GET /health/ready: Redis answers and lets workers settle, also at its memory limit."""
    found = await context(request).broker.readiness()
    if not found.serving:
        return answer(request, Health("unavailable", found.reason), 503, Retry_After="1")
    return answer(request, Health("ok", found.reason, found.publishing))


async def show_metrics(request: Request) -> Response:
    """GET /metrics."""
    broker = context(request).broker
    publishing, exist = False, None  # without Redis, what was deleted meanwhile is shown
    try:
        async with asyncio.timeout(_SCRAPE_S):
            publishing = (await broker.readiness()).publishing
            exist = await broker.names()
    except (BrokerError, TimeoutError):
        pass
    text, kind = metrics.exposition(broker.waiting.count, publishing, exist)
    return Response(text, headers={"content-type": kind})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return answer(request, context(request).description)
