"""Logging (C64): one line per record, as text or as JSON, without payloads or tokens.

Of a client's input, lines contain only the request id and names of streams, consumers and workers. For a fault, a line
has its type and places, but not its message, which may quote input.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import msgspec

from broker.messages.names import is_name
from broker.messages.times import rfc3339

_FIELDS = "broker_fields"
# For the start and the stop: logged at every level (C47).
always = logging.getLogger("broker.server")
requests = logging.getLogger("broker.request")


def note(logger: logging.Logger, level: int, message: str, error: BaseException | None = None, **fields: Any) -> None:
    """Log a line with fields; None is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    logger.log(level, message, exc_info=error, extra={_FIELDS: given})


def request_done(scope: Mapping[str, Any], status: int, seconds: float, sent: int) -> None:
    """Log a request, at level debug.

    `status`: 0 = the client disconnected before the answer; `sent`: bytes of the answer's body.
    """
    named = {kind: name for kind, name in scope.get("path_params", {}).items() if kind in ("stream", "consumer") and is_name(name)}
    waited = scope.get("waited")
    note(
        requests, logging.DEBUG, "request", request_id=scope["request_id"], operation=scope.get("operation"), status=status,
        ms=round(seconds * 1000, 1), waited_ms=None if waited is None else round(waited * 1000, 1), bytes=sent, **named,
        worker=scope.get("worker"), **trace_ids(scope),
    )  # fmt: skip


def trace_ids(scope: Mapping[str, Any]) -> dict[str, Any]:
    """`trace_id` and `span_id` of a traced request."""
    span = scope.get("span")
    return {} if span is None else span.ids


def begin(level: str, form: str) -> None:
    """Log everything to standard error from now on. `form`: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    always.setLevel(min(logging.INFO, logging.getLogger().level))
    logging.captureWarnings(True)
    # Without uvicorn's lines about start and stop, which say less than ours.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class _Text(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO a message name=value`: one line per record, plus the places of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        fields = " ".join(f"{name}={_plain(value)}" for name, value in _fields_of(record).items())
        line = f"{_time(record)} {record.levelname} {_one_line(record.getMessage())}"
        return f"{line} {fields}" if fields else line


class _Json(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        message = " ".join(record.getMessage().split())
        head = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name, "message": message}
        return msgspec.json.encode(head | _fields_of(record), enc_hook=str).decode()


def _time(record: logging.LogRecord) -> str:
    return rfc3339(int(record.created * 1000))


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields: Mapping[str, Any] = getattr(record, _FIELDS, {})
    if record.exc_info and record.exc_info[1] is not None:
        return {**fields, "fault": _fault(record.exc_info[1])}
    return dict(fields)


def _fault(error: BaseException) -> str:
    """Types and places of an exception and its causes, the first cause last."""
    parts, seen = [], set[int]()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        parts.append(f"{type(cause).__module__}.{type(cause).__qualname__} at {_places(cause.__traceback__)}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "; after ".join(parts)


def _places(trace: TracebackType | None) -> str:
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(traceback.extract_tb(trace))) or "nowhere"


def _plain(value: object) -> str:
    """A value as text, quoted if it contains spaces or special characters."""
    text = _one_line(str(value))
    return text if text and " " not in text and '"' not in text and "=" not in text else msgspec.json.encode(text).decode()


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
