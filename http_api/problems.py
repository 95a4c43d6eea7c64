"""Maps errors to problem responses: one shape, one table (C3)."""

import logging
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import (
    BrokerError,
    ConsumerExists,
    ConsumerNotFound,
    EventNotFound,
    Forbidden,
    InvalidAckToken,
    InvalidRequest,
    MessageNotFound,
    NotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    RecordNotFound,
    StoreFull,
    StoreUnavailable,
    StreamExists,
    StreamInUse,
    StreamNotFound,
    TooManyWaiting,
    Unauthenticated,
    ValidationFailed,
    WrongKind,
)
from broker.streams.publishing import PublishFailed, Repeatable, Unconfirmed
from http_api.bodies.codec import UnsupportedMediaType, answer
from http_api.monitoring.logs import note, trace_ids
from http_api.refusals import HeadersTooLarge, RequestTimeout, UriTooLong

logger = logging.getLogger("broker")


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of every error. `code` is for programs, `summary` for people. `data`: unconfirmed messages."""

    code: str
    summary: str
    validation_errors: dict[str, list[str]] | None = None
    data: list[Repeatable] | None = None


class MethodNotAllowed(BrokerError):
    """The address exists, but not with this method."""

    code = "METHOD_NOT_ALLOWED"


STATUS: dict[type[BrokerError], int] = {
    InvalidRequest: 400,
    InvalidAckToken: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    StreamNotFound: 404,
    WrongKind: 404,
    ConsumerNotFound: 404,
    RecordNotFound: 404,
    MessageNotFound: 404,
    EventNotFound: 404,
    MethodNotAllowed: 405,
    RequestTimeout: 408,
    StreamExists: 409,
    ConsumerExists: 409,
    StreamInUse: 409,
    PayloadTooLarge: 413,
    UriTooLong: 414,
    UnsupportedMediaType: 415,
    ValidationFailed: 422,
    TooManyWaiting: 429,
    HeadersTooLarge: 431,
    BrokerError: 500,
    StoreUnavailable: 503,
    OutcomeUnknown: 504,
    Unconfirmed: 504,
    StoreFull: 507,
}
CODES: dict[int, list[str]] = {}
for _kind, _status in STATUS.items():
    if _kind.code not in CODES.setdefault(_status, []):
        CODES[_status].append(_kind.code)

_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}
_LONGEST, _LONGEST_PATH = 1000, 200  # characters of a text, and of a field's path
_FAULT = BrokerError("Internal error; the server's log has the cause.")


def _short(text: str, longest: int) -> str:
    """Shorten a text that quotes the client: an unknown name may be as long as the body."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def response(request: Request, error: Exception) -> Response:
    """The response to an error of any kind."""
    if isinstance(error, PublishFailed):
        summary, error = error.summary, error.cause
    else:
        summary = error.summary if isinstance(error, BrokerError) else ""
    if type(error) not in STATUS or type(error) is BrokerError:
        ids = {name: request.scope.get(name) for name in ("request_id", "operation")} | trace_ids(request.scope)
        note(logger, logging.ERROR, "a request ended with a fault of the server", error, **ids)
        error, summary = _FAULT, _FAULT.summary
    assert isinstance(error, BrokerError)  # noqa: S101 - the branch above saw to it
    status = STATUS[type(error)]
    request.scope["error_code"] = error.code
    fields: dict[str, Any] = {"code": error.code, "summary": _short(summary, _LONGEST)}
    if isinstance(error, ValidationFailed):
        fields["validation_errors"] = {
            _short(path, _LONGEST_PATH): [_short(reason, _LONGEST) for reason in reasons] for path, reasons in error.errors.items()
        }
    if isinstance(error, Unconfirmed):
        fields["data"] = error.messages
    reply = answer(request, fields, status)
    for name, value in _HEADERS.get(status, {}).items():
        reply.headers[name] = value
    if request.scope["path"].endswith("/next"):
        reply.headers["Cache-Control"] = "no-store"  # C7, also for requests that never reached `next`
    return reply
