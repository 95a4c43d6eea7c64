"""Each message by itself: live deliveries, final acks, stale tokens, counts, delays (C22-C27, C33, C34, C38-C40)."""

import math
from collections.abc import Iterator
from itertools import pairwise

from tests.fault.history.courses import SLACK, Course, Courses, Seen, Violation


def violations(courses: Courses) -> Iterator[Violation]:
    """Rules that one course of a message breaks."""
    for course in courses.courses.values():
        for check in (_hidden, _counted, _final, _given, _refused, _scheduled):
            for rule, what in check(courses, course):
                yield Violation(rule, f"{what}: {course}")
    yield from _paused(courses)


def _hidden(courses: Courses, course: Course) -> Iterator[tuple[str, str]]:
    """C22, C23, C26: a delivery is hidden until it is settled or expires, and then for the delay."""
    for first, second in pairwise(course.seen):
        if first.number == second.number:
            yield "C23 one delivery, one worker", f"#{first.number} was handed out twice"
        elif second.fetch.ended < course.live_until(first) - SLACK:
            yield "C23 no two live deliveries", f"#{second.number} while #{first.number} was out"
        elif second.fetch.ended < (back := _back_from(courses, course, first)) - SLACK:
            yield "C26 not before its delay", f"#{second.number} before {back:.3f}"


def _back_from(courses: Courses, course: Course, seen: Seen) -> float:
    """The earliest moment at which a message can be delivered again."""
    ends = course.ends_of(seen.number)
    last = 0 < course.rules.max_deliver <= seen.delivery.count or any(s.op.how == "reject" for s in ends)
    if last and courses.maybe(course.rules.name, "redrive", math.inf):  # a redrive knows no delay
        return course.live_until(seen)
    backoff = course.rules.backoff_after(seen.delivery.count)
    back = course.expires(seen) + backoff
    for end in ends:
        delay = end.op.delay if end.op.delay is not None else backoff if end.op.how == "retry" else 0.0
        back = min(back, end.op.began + delay)
    return back


def _counted(courses: Courses, course: Course) -> Iterator[tuple[str, str]]:
    """C22, C27, C34, C37: the deliver count grows by one, but for what was released; a redrive begins again."""
    rules = course.rules
    before: Seen | None = None
    for seen in course.seen:
        first = before.number if before else 0
        unseen = max(0, seen.number - first - 1)
        if unseen > len(courses.unseen(rules.name, seen.fetch.ended)):
            yield "C22 delivered to somebody", f"#{seen.number} after #{first}, and nobody's answer was lost"
        if rules.max_deliver > 0 and seen.delivery.count > rules.max_deliver:
            yield "C27 max_deliver", f"deliver count {seen.delivery.count}"
        ends = [s for s in course.settled if s.op.how == "release" and first <= s.number < seen.number]
        given_back = seen.number - seen.delivery.count - (before.number - before.delivery.count if before else 0)
        redriven = courses.maybe(rules.name, "redrive", seen.fetch.ended, before.fetch.began if before else -math.inf)
        normal = sum(s.sure for s in ends) <= given_back <= len(ends) + unseen
        if not normal and not (redriven and 1 <= seen.delivery.count <= 1 + unseen):
            yield "C22 deliver count", f"#{seen.number} has deliver count {seen.delivery.count}"
        before = seen


def _final(courses: Courses, course: Course) -> Iterator[tuple[str, str]]:
    """C24: a delivery is settled once; what is acked is not delivered again, nor what is rejected and not redriven."""
    by_number: dict[int, int] = {}
    for end in course.settled:
        if not end.sure:
            continue
        by_number[end.number] = by_number.get(end.number, 0) + 1
        if by_number[end.number] == 2:
            yield "C24 settled once", f"#{end.number} was settled twice"
        for seen in course.seen:
            redriven = courses.maybe(course.rules.name, "redrive", seen.fetch.ended)
            if seen.number > end.number and (end.op.how == "ack" or (end.op.how == "reject" and not redriven)):
                yield "C24 acks are final", f"#{seen.number} after the {end.op.how} of #{end.number}"
    for op, sure in course.plain:
        if sure and any(seen.fetch.began > op.ended for seen in course.seen):
            yield "C24 acks are final", "delivered after an XACK"


def _given(courses: Courses, course: Course) -> Iterator[tuple[str, str]]:
    """C24, C25: a token settles the delivery that it was made for, and no later one."""
    numbers = {seen.number: seen for seen in course.seen}
    name = course.rules.name
    for end in (*course.settled, *course.extended):
        if not end.sure:
            continue
        seen = numbers.get(end.number)
        if seen is None or seen.fetch.began > end.op.ended:
            yield "C24 tokens of this consumer", f"{end.op.how} of #{end.number} was taken, which was not given here"
        elif any(s.number > end.number and s.fetch.ended < end.op.began for s in course.seen):
            yield "C24 stale tokens are inert", f"{end.op.how} of #{end.number} was taken after its redelivery"
        elif any(op.ok and op.began > seen.fetch.ended and op.ended < end.op.began for op in courses.controls[name, "reset"]):
            yield "C38 stale after a reset", f"{end.op.how} of #{end.number} was taken"


def _refused(courses: Courses, course: Course) -> Iterator[tuple[str, str]]:
    """C24: the token of a live delivery is not stale."""
    numbers = {seen.number: seen for seen in course.seen}
    name = course.rules.name
    for end in course.stale:
        seen = numbers.get(end.number)
        if seen is None or end.op.ended >= course.expires(seen) - SLACK:
            continue
        others = [s for s in course.ends_of(end.number) if s.op.began <= end.op.ended]
        plain = [op for op, _ in course.plain if op.began <= end.op.ended]
        if not others and not plain and not courses.maybe(name, "reset", end.op.ended, seen.fetch.began):
            yield "C24 live tokens settle", f"{end.op.how} of #{end.number} was stale"


def _scheduled(courses: Courses, course: Course) -> Iterator[tuple[str, str]]:
    """C40: not before deliver_at; for the first time not after ttl_ms, of which a plain XREADGROUP knows nothing."""
    for seen in course.seen:
        p = courses.published.get(seen.delivery.n)
        if p is None:
            continue
        if p.message.deliver_at is not None and seen.fetch.ended < p.message.deliver_at - SLACK:
            yield "C40 deliver_at", f"#{seen.number} before {p.message.deliver_at:.3f}"
        if p.message.ttl is not None and seen.number == 1 and seen.delivery.token and seen.fetch.began > p.by + p.message.ttl + SLACK:
            yield "C40 ttl_ms", f"for the first time after {p.by + p.message.ttl:.3f}"


def _paused(courses: Courses) -> Iterator[Violation]:
    """C39: a paused consumer delivers nothing."""
    for name in courses.rules:
        resumes = [op for op in courses.controls[name, "resume"] if op.maybe]
        for pause in courses.controls[name, "pause"]:
            if not pause.ok:
                continue
            until = min((op.began for op in resumes if op.ended > pause.began or not op.ok), default=math.inf)
            for fetch in courses.fetches[name]:
                if fetch.deliveries and pause.ended < fetch.began and fetch.ended < until:
                    yield Violation("C39 paused", f"{name} was paused at {pause.ended:.3f} and delivered at {fetch.began:.3f}")
