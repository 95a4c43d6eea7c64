"""Text of /metrics: the server's own counts, and the state of Redis (C63)."""

import platform
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker import __version__
from broker.overview import Overview
from http_api.monitoring import metrics


class Scrape(NamedTuple):
    """The replies of Redis for a scrape; None: it did not reply. `names`: the existing streams and consumers."""

    names: tuple[Container[str], Container[str]] | None = None
    overview: Overview | None = None
    publishing: bool = False


def _gauge(name: str, what: str, rows: Iterable[tuple[Sequence[str], float]], labels: Sequence[str] = ()) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"broker_{name}", what, labels=labels)
    for values, value in rows:
        gauge.add_metric(values, value)
    return gauge


_CONSUMER_GAUGES = (
    ("pending", "Messages that wait to be delivered to the consumer.", "pending"),
    ("ack_pending", "Deliveries of the consumer that are out and not settled.", "ack_pending"),
    ("retrying", "Messages among the pending ones that were delivered before.", "retrying"),
    ("dead", "Dead letters of the consumer.", "dead"),
    ("oldest_pending_seconds", "Age of the oldest message that waits to be delivered to the consumer, 0 = none waits.", "oldest_pending_s"),
)


def _states(scrape: Scrape) -> Iterator[Metric]:
    """Metrics of the state of Redis, at most some seconds old."""
    yield _gauge("build_info", "The version of the server.", [((__version__, platform.python_version()), 1)], ("version", "python"))
    yield _gauge("redis_up", "Whether Redis answers.", [((), scrape.names is not None)])
    yield _gauge(
        "publishing",
        "1: messages can be published. 0: Redis is at its memory limit, or cannot be written at all.",
        [((), scrape.publishing)],
    )
    overview = scrape.overview
    if overview is None:
        return
    yield _gauge(
        "metrics_truncated", "Whether the metrics of some streams or consumers are left out: too many, or not read in time.",
        [((), overview.truncated)],
    )  # fmt: skip
    for name, what, field in _CONSUMER_GAUGES:
        rows = [((c.stream, c.consumer), getattr(c, field)) for c in overview.consumers]
        yield _gauge(f"consumer_{name}", what, rows, ("stream", "consumer"))
    yield _gauge("stream_messages", "Messages that the stream holds.", [((s.stream,), s.messages) for s in overview.streams], ("stream",))
    appended = CounterMetricFamily(
        "broker_stream_published",
        "Messages appended to the stream since it was made, through any server or by a plain XADD. "
        "What changed nothing (unchanged, stale, duplicate) is not counted, and a delayed event is when it is appended.",
        labels=["stream"],
    )
    for row in overview.streams:
        appended.add_metric([row.stream], row.appended)
    yield appended


def _processes() -> Iterable[Metric]:
    """`process_*`: sums over the server's processes."""
    shown: dict[str, Metric] = {}
    for pid in metrics.processes():
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            known = shown.setdefault(metric.name, metric)
            if known is not metric and metric.name not in ("process_start_time_seconds", "process_max_fds"):
                [ours], [theirs] = known.samples, metric.samples
                known.samples = [ours._replace(value=ours.value + theirs.value)]
    return shown.values()


class _Shown:
    """All metrics, without the rows of streams and consumers that any server or process has deleted."""

    def __init__(self, counts: CollectorRegistry, scrape: Scrape) -> None:
        self._counts, self._scrape = counts, scrape

    def collect(self) -> Iterator[Metric]:
        """The metrics, for prometheus_client."""
        for metric in (*_states(self._scrape), *self._counts.collect(), *_processes()):
            metric.samples = [sample for sample in metric.samples if self._exists(sample.labels)]
            yield metric

    def _exists(self, labels: Mapping[str, str]) -> bool:
        if self._scrape.names is None:
            return True
        return all(labels[kind] in names for kind, names in zip(("stream", "consumer"), self._scrape.names, strict=True) if kind in labels)


def exposition(waiting: int, scrape: Scrape) -> tuple[bytes, str]:
    """The text of /metrics and its content type, over all worker processes of the server."""
    metrics.waits_now(waiting)
    return generate_latest(_Shown(metrics.counts(), scrape)), CONTENT_TYPE_LATEST
