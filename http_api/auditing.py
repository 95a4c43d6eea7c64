"""Auditing: writes each change by an operator to the log and to the audit log (docs/decisions/0030)."""

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response

from broker.errors import BrokerError, OutcomeUnknown, StoreFull, StoreUnavailable
from http_api.context import context
from http_api.monitoring import metrics
from http_api.monitoring.logs import note
from http_api.routes import Operation

logger = logging.getLogger("broker.audit")
# How long the audit log may delay an answer.
WRITE_S = 2.0
NOBODY = "(no token)"


async def audited(operation: Operation, request: Request) -> Response:
    """Serve a call that changes something, and audit it. A refused call changed nothing."""
    try:
        reply = await operation.endpoint(request)
    except BaseException as exc:
        # A call of several steps may have made some of them before Redis was lost or its client disconnected.
        if not isinstance(exc, BrokerError) or isinstance(exc, OutcomeUnknown | StoreUnavailable | StoreFull):
            await _note(operation, request, "unknown")
        raise
    await _note(operation, request, "done")
    return reply


async def _note(operation: Operation, request: Request, outcome: str) -> None:
    scope, audit = request.scope, context(request).broker.audit
    if scope.get("unchanged"):
        return
    entry = {
        "who": scope["access"].name or NOBODY, "what": operation.name, "object": scope.get("made") or _object(scope["path_params"]),
        "request_id": scope["request_id"], "outcome": outcome,
    }  # fmt: skip
    note(logger, logging.INFO, "audit", **entry)
    event = {"object": f"event {scope['path_params']['id']} of {entry['object']}"} if operation.name == "cancelScheduled" else {}
    try:
        async with asyncio.timeout(WRITE_S):
            await audit.write(**entry | event)
    except (BrokerError, TimeoutError):
        metrics.audit_lost()
        note(logger, logging.WARNING, "Redis did not take an audit entry, which is in this log alone", **entry)


def _object(names: dict[str, str]) -> str:
    for kind in ("consumer", "stream"):
        if kind in names:
            return f"{kind} {names[kind]}"
    return f"token {names['name']}"
