"""Endpoint of the audit log."""

from starlette.requests import Request
from starlette.responses import Response

from http_api.auth import require
from http_api.bodies.codec import answer, page_query
from http_api.context import context
from http_api.shapes.answers import AuditPage


async def page(request: Request) -> Response:
    """GET /v1/audit."""
    require(request, "admin", read=True)
    return answer(request, AuditPage(*await context(request).broker.audit.page(*page_query(request))))
