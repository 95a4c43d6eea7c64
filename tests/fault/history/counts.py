"""Counts and limits: what answers say lies between what was surely so and what may have been (C20, C22, C26, C28, C29).

A count of a moment inside [began, ended] is at least the number of spans that surely cover all of it, and at most the
number of spans that may touch it. What fetches with an unknown outcome may have moved goes off or on top.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from tests.fault.history.courses import SLACK, Course, Courses, Published, Seen, Violation
from tests.fault.history.operations import Fetch, Look, Rules


class Spans:
    """Spans of time, counted."""

    def __init__(self, spans: list[tuple[float, float]]) -> None:
        kept = [(a, b) for a, b in spans if a < b]
        self.starts = sorted(a for a, _ in kept)
        self.ends = sorted(b for _, b in kept)

    def covering(self, began: float, ended: float) -> int:
        """At least so many cover all of this."""
        return max(0, bisect_right(self.starts, began) - bisect_left(self.ends, ended))

    def touching(self, began: float, ended: float) -> int:
        """So many touch it."""
        return bisect_right(self.starts, ended) - bisect_left(self.ends, began)

    def most(self) -> tuple[int, float]:
        """The most at one moment, and that moment."""
        found = ((i + 1 - bisect_right(self.ends, start), start) for i, start in enumerate(self.starts))
        return max(found, default=(0, 0.0))


def violations(courses: Courses) -> Iterator[Violation]:
    """Counts that cannot be, limits that do not hold, and messages that are withheld."""
    for rules in courses.rules.values():
        if not rules.resets and not rules.plain:
            yield from _consumer(courses, rules)


def _consumer(courses: Courses, rules: Rules) -> Iterator[Violation]:
    found = list(courses.of(rules.name))
    by_n = {c.seen[0].delivery.n: c for c in found if c.seen}
    waiting = [p for p in courses.published.values() if p.maybe and p.stream == rules.stream and rules.provider in ("", p.message.provider)]
    out_surely = Spans([(s.fetch.ended, c.live_until(s)) for c in found for s in c.seen])
    out_maybe = Spans([_maybe_out(c, i) for c in found for i in range(len(c.seen))])
    pending_surely = Spans([span for p in waiting for span in _surely_pending(courses, p, by_n.get(p.message.n), 0.0)])
    pending_maybe = Spans([span for p in waiting for span in _maybe_pending(courses, p, by_n.get(p.message.n))])
    ready = [span for p in waiting for span in _surely_pending(courses, p, by_n.get(p.message.n), SLACK)]
    ready += [_expired(courses, c, s) for c in found for s in c.seen if _comes_back(c, s)]
    deliverable = Spans(ready)

    most, at = out_surely.most()
    if most > rules.max_ack_pending:
        yield Violation("C29 max_ack_pending", f"{rules.name}: {most} out at {at:.3f}")
    told: list[Fetch | Look] = [*courses.fetches[rules.name], *courses.looks[rules.name]]
    for op in told:
        if not op.ok or op.num_pending is None or op.num_ack_pending is None:
            continue
        lost = sum(fetch.batch for fetch in courses.unseen(rules.name, op.ended))
        # The counts are those after its own deliveries. The first ones of a message waited until then, and are out now.
        own = sum(d.number == 1 for d in op.deliveries) if isinstance(op, Fetch) else 0
        low, high = out_surely.covering(op.began, op.ended) + own, out_maybe.touching(op.began, op.ended) + lost
        where = f"{rules.name} at {op.began:.3f} by {op.lane}"
        if not low <= op.num_ack_pending <= high:
            yield Violation("C28 num_ack_pending", f"{where}: {op.num_ack_pending}, not {low}...{high}")
        if op.num_ack_pending > rules.max_ack_pending:
            yield Violation("C29 max_ack_pending", f"{where}: {op.num_ack_pending}")
        low = pending_surely.covering(op.began, op.ended) - lost
        high = pending_maybe.touching(op.began, op.ended) + lost - own
        if not low <= op.num_pending <= high:
            yield Violation("C28 num_pending", f"{where}: {op.num_pending}, not {low}...{high}")
        if isinstance(op, Fetch) and _has_room(courses, rules, op, high=out_maybe.touching(op.began, op.ended) + lost):
            missed = deliverable.covering(op.began, op.ended) - lost
            if missed > 0 and len(op.deliveries) < op.batch:
                yield Violation("C20 withheld", f"{where}: {len(op.deliveries)} of {op.batch}, and {missed} more were due")
        if isinstance(op, Look):
            yield from _dead(courses, rules, op)


def _dead(courses: Courses, rules: Rules, op: Look) -> Iterator[Violation]:
    if op.num_dead and rules.max_deliver < 0 and not any(s.op.how == "reject" for c in courses.of(rules.name) for s in c.settled):
        yield Violation("C28 num_dead", f"{rules.name} at {op.began:.3f}: {op.num_dead}, and nothing was rejected")


def _has_room(courses: Courses, rules: Rules, fetch: Fetch, high: int) -> bool:
    """Whether nothing but a lack of messages may make it give few."""
    paused = courses.controls[rules.name, "pause"]
    return not rules.keyed and not paused and high + fetch.batch <= rules.max_ack_pending


def _next(course: Course, seen: Seen) -> float:
    """When the message can have been delivered again."""
    return min((s.fetch.began for s in course.seen if s.number > seen.number), default=math.inf)


def _comes_back(course: Course, seen: Seen) -> bool:
    """Whether a delivery surely expires and the message is then delivered again."""
    limit = course.rules.max_deliver
    settled = course.ends_of(seen.number) or course.plain
    return not settled and (limit < 0 or seen.delivery.count < limit)


def _expired(courses: Courses, course: Course, seen: Seen) -> tuple[float, float]:
    """When a delivery that comes back surely can be delivered again."""
    gone = courses.superseded_from(seen.delivery.n) if seen.delivery.n in courses.published else math.inf
    backoff = course.rules.backoff_after(seen.delivery.count)
    return course.expires_by(seen) + backoff + SLACK, min(_next(course, seen), gone)


def _maybe_out(course: Course, i: int) -> tuple[float, float]:
    seen = course.seen[i]
    ends = [s.op.ended for s in course.ends_of(seen.number) if s.sure]
    ends += [op.ended for op, sure in course.plain if sure]
    return seen.fetch.began, min(ends, default=_next(course, seen))


def _surely_pending(courses: Courses, p: Published, course: Course | None, slack: float) -> list[tuple[float, float]]:
    """When it surely waits; with `slack`, when it surely can be delivered."""
    lapses = p.from_ + p.message.ttl if p.message.ttl is not None else math.inf
    gone = courses.superseded_from(p.message.n)
    spans = [(p.by + slack, min(course.seen[0].fetch.began if course else math.inf, gone, lapses))]
    if course is None:
        return spans
    limit = course.rules.max_deliver
    for seen in course.seen:
        for end in course.ends_of(seen.number):
            if end.sure and end.op.how in ("retry", "release") and (limit < 0 or seen.delivery.count < limit):
                backoff = course.rules.backoff_after(seen.delivery.count) if end.op.how == "retry" else 0.0
                delay = end.op.delay if end.op.delay is not None else backoff
                spans.append((end.op.ended + (delay + slack if slack else 0.0), min(_next(course, seen), gone)))
    return spans


def _maybe_pending(courses: Courses, p: Published, course: Course | None) -> list[tuple[float, float]]:
    seen = course.seen if course else []
    gone = math.inf
    if p.message.ttl is not None:
        gone = p.by + p.message.ttl + 1.0
    newer = [q for q in courses.versions[p.stream, p.message.id] if q.sure and q.tries[0][0].began > p.tries[0][0].began]
    if p.message.updated_at is not None and p.sure:
        replaced = [op.ended for q in newer for op, row in q.tries if row is not None and row.status in ("updated", "deleted")]
        gone = min(replaced, default=math.inf)
    spans = [(p.from_, min(seen[0].fetch.ended if seen else math.inf, gone))]
    for i, s in enumerate(seen):
        back = seen[i + 1].fetch.ended if i + 1 < len(seen) else math.inf
        assert course is not None
        spans.extend((end.op.began, back) for end in course.ends_of(s.number) if end.op.how in ("retry", "release"))
        if course.rules.max_deliver > 0 or any(end.op.how == "reject" for end in course.ends_of(s.number)):
            spans.extend((op.began, back) for op in courses.controls[course.rules.name, "redrive"] if op.maybe)
    return spans
