"""Counters of a server, which http_api/monitoring/exposition.py shows."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from broker.consumers.batches import Outcome
from broker.streams.publishing import Status

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAITS = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)

# The variable that gives worker processes the directory of their counts, so that each can show the sums.
COUNTS_AT = "PROMETHEUS_MULTIPROC_DIR"
_PROCESS = "process-"  # one file per worker process
disable_created_metrics()  # type: ignore[no-untyped-call]
_REGISTRY = CollectorRegistry()
_REQUESTS = Histogram(
    "broker_request_seconds", "Time of a request, without what it waited for messages.", ["operation", "status"],
    buckets=_BUCKETS, registry=_REGISTRY,
)  # fmt: skip
_WAITS_ENDED = Histogram(
    "broker_wait_seconds", "How long a call of next waited for messages, of those that waited.", buckets=_WAITS, registry=_REGISTRY
)
_PUBLISHED = Counter(
    "broker_published", "Messages published through this server, by what became of them.", ["stream", "status"], registry=_REGISTRY
)
_DELIVERED = Counter("broker_delivered", "Messages delivered through this server.", ["consumer"], registry=_REGISTRY)
_SETTLED = Counter("broker_settled", "Deliveries settled through this server.", ["consumer", "outcome"], registry=_REGISTRY)
_AUDIT_LOST = Counter("broker_audit_lost", "Audit entries that Redis did not take; the server's log has them.", registry=_REGISTRY)
_WAITING = Gauge("broker_waiting_calls", "Calls of next that wait now.", registry=_REGISTRY, multiprocess_mode="livesum")


# Cached: finding a row by its labels costs more than counting.
@cache
def _request(operation: str, status: int) -> Histogram:
    return _REQUESTS.labels(operation, str(status))


@cache
def _delivered(consumer: str) -> Counter:
    return _DELIVERED.labels(consumer)


@cache
def _settled(consumer: str, outcome: str) -> Counter:
    return _SETTLED.labels(consumer, outcome)


def request_done(operation: str, status: int, seconds: float, waited: float | None) -> None:
    """Count a request that was answered, or whose client disconnected.

    `waited`: the seconds that it waited for messages; None: it did not wait.
    """
    if waited is not None:
        _WAITS_ENDED.observe(waited)
        seconds -= waited
    _request(operation, status).observe(seconds)


def published(stream: str, info: Mapping[str, int]) -> None:
    """Count published messages."""
    for status, count in info.items():
        _PUBLISHED.labels(stream, status).inc(count)


def delivered(consumer: str, count: int) -> None:
    """Count delivered messages."""
    if count:
        _delivered(consumer).inc(count)


def settled(consumer: str, outcome: str, count: int) -> None:
    """Count settled deliveries. `outcome`: `ack`, or an `Outcome`."""
    if count:
        _settled(consumer, outcome).inc(count)


def consumer_deleted(consumer: str) -> None:
    """Forget a deleted consumer, in this process."""
    _forget(_DELIVERED, [(consumer,)])
    _forget(_SETTLED, [(consumer, outcome) for outcome in ("ack", *get_args(Outcome))])
    # Clear the whole cache: deletions are rare.
    _delivered.cache_clear()
    _settled.cache_clear()


def stream_deleted(stream: str) -> None:
    """Forget a deleted stream, in this process."""
    _forget(_PUBLISHED, [(stream, status) for status in get_args(Status)])


def _forget(counter: Counter, rows: Iterable[tuple[str, ...]]) -> None:
    if COUNTS_AT in os.environ:
        return  # several processes count in files, from which no row can be removed
    for labels in rows:
        with contextlib.suppress(KeyError):
            counter.remove(*labels)


def audit_lost() -> None:
    """Count an audit entry that Redis did not accept."""
    _AUDIT_LOST.inc()


def waits_now(calls: int) -> None:
    """Set how many calls of `next` wait in this process."""
    _WAITING.set(calls)


def counts() -> CollectorRegistry:
    """The registry of all counts, over all worker processes of the server."""
    if COUNTS_AT not in os.environ:
        return _REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def process_began(directory: str) -> None:
    """Register this worker process with the other processes of the server."""
    Path(directory, f"{_PROCESS}{os.getpid()}").touch()


def process_ended(pid: int, environment: Mapping[str, str]) -> None:
    """Remove an ended worker process from the gauges. `environment`: its own, with the directory of the counts."""
    mark_process_dead(pid, environment[COUNTS_AT])  # type: ignore[no-untyped-call]
    Path(environment[COUNTS_AT], f"{_PROCESS}{pid}").unlink(missing_ok=True)


def processes() -> list[int]:
    """The process ids of this server: its workers and, if there are several, their supervisor."""
    if COUNTS_AT not in os.environ:
        return [os.getpid()]
    return [os.getppid(), *(int(path.name.removeprefix(_PROCESS)) for path in Path(os.environ[COUNTS_AT]).glob(f"{_PROCESS}*"))]
