"""Log lines (C64): one a record, with time and level, as text or as JSON. No line has a payload or a token.

What a client sent stands in no line but its request id, and names of streams, consumers and workers. Of a fault the line has where it
was and of what kind, but not its message, which may quote what was being read.
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
# Of the start and the stop, whatever the level is (C47).
always = logging.getLogger("broker.server")
requests = logging.getLogger("broker.request")


def note(logger: logging.Logger, level: int, message: str, error: BaseException | None = None, **fields: Any) -> None:
    """Log a line with fields of its own; None is left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    logger.log(level, message, exc_info=error, extra={_FIELDS: told})


def request_done(scope: Mapping[str, Any], status: int, seconds: float, sent: int) -> None:
    """The line of a request, at level debug. `status`: 0 = its client went away unanswered; `sent`: bytes of the answer's body."""
    named = {kind: name for kind, name in scope.get("path_params", {}).items() if kind in ("stream", "consumer") and is_name(name)}
    waited = scope.get("waited")
    note(
        requests, logging.DEBUG, "request", request_id=scope["request_id"], operation=scope.get("operation"), status=status,
        ms=round(seconds * 1000, 1), waited_ms=None if waited is None else round(waited * 1000, 1), bytes=sent, **named,
        worker=scope.get("worker"), **trace_ids(scope),
    )  # fmt: skip


def trace_ids(scope: Mapping[str, Any]) -> dict[str, Any]:
    """`trace_id` and `span_id` of a request that is traced."""
    span = scope.get("span")
    return {} if span is None else span.ids


def begin(level: str, form: str) -> None:
    """Log to standard error from now on: the broker, uvicorn and what else there is. `form`: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    always.setLevel(min(logging.INFO, logging.getLogger().level))
    logging.captureWarnings(True)
    # Its lines about the start and the stop say less than ours.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class _Text(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO a message name=value`: a line a record, but for the places of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = " ".join(f"{name}={_plain(value)}" for name, value in _fields_of(record).items())
        line = f"{_time(record)} {record.levelname} {_one_line(record.getMessage())}"
        return f"{line} {fields}" if fields else line


class _Json(logging.Formatter):
    """An object a line: time, level, logger, message, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
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
    """Kinds and places of an exception and what led to it, the first one last."""
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
    """A value that has a space or the like is quoted."""
    text = _one_line(str(value))
    return text if text and " " not in text and '"' not in text and "=" not in text else msgspec.json.encode(text).decode()


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
