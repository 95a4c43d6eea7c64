"""Tracing setup: on if the extra `otel` is installed and the environment names an exporter (docs/decisions/0031).

OpenTelemetry is imported only if tracing is on.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from http_api.monitoring.logs import note

if TYPE_CHECKING:
    from http_api.monitoring.spans import Spans

logger = logging.getLogger("broker")
_PROTOCOL = "http/protobuf"


class Plan(NamedTuple):
    """Where spans go (`otlp`, `console` or, empty, nowhere), a line for the startup message, and a warning."""

    exporter: str = ""
    where: str = ""
    warning: str = ""


def plan(environ: Mapping[str, str]) -> Plan:
    """Read OpenTelemetry's variables. Other programs may use them too, so a wrong one only turns tracing off."""
    endpoint = _of_traces(environ, "ENDPOINT")
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or ("otlp" if endpoint else "none")
    if exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Plan()
    if exporter not in ("otlp", "console"):
        return Plan(warning=f"OTEL_TRACES_EXPORTER: {exporter!r} is not one of otlp, console, none; nothing is traced")
    protocol = _of_traces(environ, "PROTOCOL") or _PROTOCOL
    where = "to standard error" if exporter == "console" else _address(endpoint or "http://localhost:4318")
    if where is None:
        return Plan(warning="OTEL_EXPORTER_OTLP_ENDPOINT: not a URL such as http://localhost:4318; nothing is traced")
    if exporter == "otlp" and protocol != _PROTOCOL:
        return Plan(warning=f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is not {_PROTOCOL}; nothing is traced")
    try:
        from http_api.monitoring import spans  # noqa: F401 - to check that it is installed
    except ImportError:
        return Plan(warning="OTEL_… asks for traces, which need pip install 'stream-broker[otel]'; nothing is traced")
    return Plan(exporter, where)


def _address(endpoint: str) -> str | None:
    """A collector's address without user, password and query, for the startup message. None: it is invalid."""
    try:
        address = urlsplit(endpoint)
    except ValueError:
        return None
    if address.scheme not in ("http", "https") or not address.netloc:
        return None
    return f"by OTLP to {address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"


def _of_traces(environ: Mapping[str, str], what: str) -> str:
    """A variable of the exporter: the one for traces, else the one for all signals."""
    names = (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}")
    return next(filter(None, (environ.get(name, "").strip() for name in names)), "")


def begin(environ: Mapping[str, str]) -> "Spans | None":
    """Trace the requests of this process from now on, if the environment asks for it."""
    exporter = plan(environ).exporter
    if not exporter:
        return None
    from http_api.monitoring.spans import Spans, provider_of  # costs time and memory

    logging.getLogger("urllib3").setLevel(logging.WARNING)  # at debug, urllib3 logs each export
    try:
        return Spans(provider_of(exporter))
    except Exception as exc:  # such as an unreadable certificate: serving matters more than tracing
        note(logger, logging.WARNING, "the OTEL_… variables cannot be used; nothing is traced", exc)
        return None
