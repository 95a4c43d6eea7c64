"""Endpoints without a token: health, metrics and the API description (C45, C63)."""

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import NotFound
from http_api.auth import authenticate, require
from http_api.bodies.codec import answer
from http_api.context import context
from http_api.monitoring.exposition import exposition
from http_api.shapes.answers import Health


async def live(request: Request) -> Response:
    """GET /health/live: the process runs."""
    return answer(request, Health("ok"))


async def ready(request: Request) -> Response:
    """GET /health/ready: Redis answers and lets workers settle, also at its memory limit."""
    found = await context(request).broker.readiness()
    if not found.serving:
        return answer(request, Health("unavailable", found.reason), 503, Retry_After="1")
    return answer(request, Health("ok", found.reason, found.publishing))


async def show_metrics(request: Request) -> Response:
    """GET /metrics."""
    here = context(request)
    if here.settings.metrics == "off":
        raise NotFound("This server shows no metrics (BROKER_METRICS=off).")
    if here.settings.metrics == "token":
        request.scope["access"] = authenticate(here.tokens, request.headers.getlist("authorization"))
        require(request, "admin", read=True)
    text, kind = exposition(here.broker.waiting.count, await here.scraper.scrape())
    return Response(text, headers={"content-type": kind})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return answer(request, context(request).description)
