"""Order: of an answer's rows, of first deliveries, and of the messages of a key (C21, C41-C44)."""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from tests.fault.history.courses import Course, Courses, Seen, Violation
from tests.fault.history.operations import Fetch, Rules


def place(message_id: str) -> tuple[int, int]:
    """Stream order."""
    ms, _, seq = message_id.partition("-")
    return int(ms), int(seq)


def violations(courses: Courses) -> Iterator[Violation]:
    """Deliveries out of order."""
    for rules in courses.rules.values():
        for fetch in courses.fetches[rules.name]:
            yield from _rows(rules, fetch)
        lives: dict[str, list[Seen]] = defaultdict(list)
        for course in courses.of(rules.name):
            lives[course.epoch].extend(course.seen)
        for seen in lives.values():
            if rules.keyed:
                yield from _keys(courses, rules, seen)
            else:
                yield from _first(rules, seen)


def _rows(rules: Rules, fetch: Fetch) -> Iterator[Violation]:
    """C21: redeliveries before new messages, each in stream order.

    What waited for its key comes among the redeliveries though it is new, and an expired delivery that turns out to be
    superseded lets more of it go. So with order per key only the redeliveries by themselves must be in stream order.
    """
    again = [place(d.id) for d in fetch.deliveries if d.number > 1]
    new = [place(d.id) for d in fetch.deliveries if d.number == 1]
    ordered = again == sorted(set(again))
    if not rules.keyed:
        ordered = ordered and new == sorted(set(new)) and [place(d.id) for d in fetch.deliveries] == again + new
    if not ordered:
        rows = ", ".join(f"{d.id} #{d.number}" for d in fetch.deliveries)
        yield Violation("C21 order of an answer", f"{rules.name} at {fetch.began:.3f} by {fetch.lane}: {rows}")


def _first(rules: Rules, seen: list[Seen]) -> Iterator[Violation]:
    """First deliveries come in stream order."""
    firsts = sorted((s for s in seen if s.number == 1), key=lambda s: s.fetch.began)
    by_end = sorted(firsts, key=lambda s: s.fetch.ended)
    at, last = 0, (0, 0)
    for s in firsts:
        while by_end[at].fetch.ended < s.fetch.began:
            last = max(last, place(by_end[at].delivery.id))
            at += 1
        if place(s.delivery.id) < last:
            yield Violation("C21 stream order", f"{rules.name} at {s.fetch.began:.3f}: {s.delivery.id} after {last[0]}-{last[1]}")


def _keys(courses: Courses, rules: Rules, seen: list[Seen]) -> Iterator[Violation]:
    """C42, C43: a message holds its key from its first delivery until it is settled for good; keys go in order."""
    by_key: dict[str, list[Seen]] = defaultdict(list)
    for s in seen:
        if s.delivery.key is not None:
            by_key[s.delivery.key].append(s)
    for key, deliveries in by_key.items():
        deliveries.sort(key=lambda s: s.fetch.began)
        began = [s.fetch.began for s in deliveries]
        for held in deliveries:
            course = courses.course(rules.name, held.delivery.epoch, held.delivery.id)
            free = _free_from(courses, course, held)
            for other in deliveries[bisect_right(began, held.fetch.ended) :]:
                if other.fetch.began >= free:
                    break
                if other.delivery.id != held.delivery.id and other.fetch.ended < free:
                    what = f"{key}: {other.delivery.id} at {other.fetch.began:.3f} while it was held by {course}"
                    yield Violation("C42 one of a key", what)
        yield from (Violation("C43 order of a key", f"{key}: {v.what}") for v in _first(rules, deliveries))


def _free_from(courses: Courses, course: Course, held: Seen) -> float:
    """The earliest moment at which a message that is delivered can lose its key: acked, dead or gone."""
    ends = [op.began for op, _ in course.plain]
    limit = course.rules.max_deliver
    for s in course.settled:
        if s.op.how in ("ack", "reject") or limit > 0:
            ends.append(s.op.began)
    if limit > 0:
        ends.append(course.expires(held))
    # A newer version takes the key when the old one is settled in any way, or expires.
    gone = courses.superseded_from(held.delivery.n) if held.delivery.n in courses.published else math.inf
    ends += [max(gone, end) for end in (course.expires(held), *(s.op.began for s in course.settled))]
    later = [e for e in ends if e >= held.fetch.began]
    return min(later, default=math.inf)
