"""Health, metrics and the API description: no token needed (section 9)."""

from starlette.requests import Request
from starlette.responses import Response

from http_api import metrics
from http_api.codec import answer
from http_api.context import context
from http_api.shapes import Health


async def live(request: Request) -> Response:
    """GET /health/live: the process answers."""
    return answer(request, Health("ok"))


async def ready(request: Request) -> Response:
    """GET /health/ready: Redis answers and may be written."""
    reason = await context(request).broker.check_writable()
    if reason is not None:
        return answer(request, Health("unavailable", reason), 503, Retry_After="1")
    return answer(request, Health("ok"))


async def show_metrics(request: Request) -> Response:
    """GET /metrics."""
    text, kind = metrics.exposition(context(request).broker.waiting.count)
    return Response(text, headers={"content-type": kind})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return answer(request, context(request).description)
