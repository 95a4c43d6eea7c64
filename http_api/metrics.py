"""What the server counts, in Prometheus' format."""

import contextlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from broker.publishing import Status

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_COUNTS_AT = "PROMETHEUS_MULTIPROC_DIR"
_REGISTRY = CollectorRegistry()
_REQUESTS = Histogram(
    "broker_request_seconds", "Time of a request, waiting included.", ["operation", "status"], buckets=_BUCKETS, registry=_REGISTRY
)
_PUBLISHED = Counter("broker_published", "Messages published, by what became of them.", ["stream", "status"], registry=_REGISTRY)
_DELIVERED = Counter("broker_delivered", "Messages delivered.", ["consumer"], registry=_REGISTRY)
_SETTLED = Counter("broker_settled", "Deliveries settled.", ["consumer", "outcome"], registry=_REGISTRY)
_WAITING = Gauge("broker_waiting_calls", "Calls of next that wait now.", registry=_REGISTRY, multiprocess_mode="livesum")
# Each process sets it at a scrape; the one that was asked last knows best.
_PUBLISHING = Gauge(
    "broker_publishing", "1: messages can be published. 0: Redis is at its memory limit, or cannot be written at all.",
    registry=_REGISTRY, multiprocess_mode="mostrecent",
)  # fmt: skip


# Looking a row up by its labels costs more than counting in it.
@cache
def _request(operation: str, status: int) -> Histogram:
    return _REQUESTS.labels(operation, str(status))


@cache
def _delivered(consumer: str) -> Counter:
    return _DELIVERED.labels(consumer)


@cache
def _settled(consumer: str, outcome: str) -> Counter:
    return _SETTLED.labels(consumer, outcome)


def request_done(operation: str, status: int, seconds: float) -> None:
    """A request was answered."""
    _request(operation, status).observe(seconds)


def published(stream: str, info: Mapping[str, int]) -> None:
    """Messages were published."""
    for status, count in info.items():
        _PUBLISHED.labels(stream, status).inc(count)


def delivered(consumer: str, count: int) -> None:
    """Messages were delivered."""
    if count:
        _delivered(consumer).inc(count)


def settled(consumer: str, outcome: str, count: int) -> None:
    """Deliveries were settled."""
    if count:
        _settled(consumer, outcome).inc(count)


def consumer_deleted(consumer: str) -> None:
    """Leave a consumer out that is gone, in this process."""
    _forget(_DELIVERED, [(consumer,)])
    _forget(_SETTLED, [(consumer, outcome) for outcome in ("ack", "nack")])
    # These are looked up anew: a deletion is rare.
    _delivered.cache_clear()
    _settled.cache_clear()


def stream_deleted(stream: str) -> None:
    """Leave a stream out that is gone, likewise."""
    _forget(_PUBLISHED, [(stream, status) for status in get_args(Status)])


def _forget(counter: Counter, rows: Iterable[tuple[str, ...]]) -> None:
    if _COUNTS_AT in os.environ:
        return  # what several processes count is in files, of which nothing can be taken out
    for labels in rows:
        with contextlib.suppress(KeyError):
            counter.remove(*labels)


def waits_now(calls: int) -> None:
    """So many calls of `next` wait in this process."""
    _WAITING.set(calls)


class _Existing:
    """The metrics of a registry without the rows of streams and consumers that were deleted, by whichever server or process."""

    def __init__(self, registry: CollectorRegistry, streams: Container[str], consumers: Container[str]) -> None:
        self._registry, self._streams, self._consumers = registry, streams, consumers

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if self._exists(sample.labels)]
            yield metric

    def _exists(self, labels: Mapping[str, str]) -> bool:
        if "stream" in labels:
            return labels["stream"] in self._streams
        return "consumer" not in labels or labels["consumer"] in self._consumers


def exposition(
    waiting: int, publishing: bool, exist: tuple[Container[str], Container[str]] | None = None
) -> tuple[bytes, str]:
    """The text of /metrics and its content type; of all worker processes where there are several.

    `exist`: the streams and the consumers that there are.
    """
    waits_now(waiting)
    _PUBLISHING.set(publishing)
    registry = _REGISTRY
    if _COUNTS_AT in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    shown = registry if exist is None else _Existing(registry, *exist)
    return generate_latest(shown), CONTENT_TYPE_LATEST


def process_ended(pid: int, environment: Mapping[str, str]) -> None:
    """Leave a worker process that has ended out of what waits now. Its environment names where the counts lie."""
    mark_process_dead(pid, environment[_COUNTS_AT])  # type: ignore[no-untyped-call]
