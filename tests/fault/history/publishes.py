"""What is published: answers, dedupe, versions, and what the streams hold in the end (C12-C17, C31, C55)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.fault.history.courses import STORED, Courses, Violation
from tests.fault.history.operations import Held, Message, Publish
from tests.fault.history.order import place

# What a client may be answered under faults, beside 200: nothing happened, or it may have happened.
EXPECTED = ("503", "504", "507")


def violations(courses: Courses) -> Iterator[Violation]:
    """Broken answers and broken streams."""
    for op in courses.history.operations:
        if op.error[:1].isdigit() and not op.error.startswith(EXPECTED):
            yield Violation("C3 unexpected answer", f"{op.lane} {type(op).__name__} at {op.began:.3f}: {op.error}")
    yield from _delivered(courses)
    yield from _duplicates(courses)
    for stream in {p.stream for p in courses.published.values()}:
        held = courses.history.rest.held.get(stream, [])
        yield from _held(courses, stream, held)
        if any(p.message.updated_at is not None for p in courses.published.values() if p.stream == stream):
            yield from _versions(courses, stream, held)
        else:
            yield from _accepted(courses, stream, held)


def _delivered(courses: Courses) -> Iterator[Violation]:
    """C16, C19, C47: what is delivered was published, was not refused, matches the filter, and has one number."""
    numbers: dict[tuple[str, str], tuple[int, int]] = {}
    for course in courses.courses.values():
        for seen in course.seen:
            d = seen.delivery
            p = courses.published.get(d.n)
            stream = course.rules.stream
            if p is None or p.stream != stream or not p.maybe or p.began > seen.fetch.ended:
                yield Violation("C13 refused never appears", f"{d.n} was not published by then: {course}")
            elif course.rules.provider not in ("", p.message.provider):
                yield Violation("C19 filter", f"{d.n} of {p.message.provider}: {course}")
            if d.idx and numbers.setdefault((stream, d.id), (d.idx, d.n)) != (d.idx, d.n):
                yield Violation("C16 updated_idx", f"{d.id} of {stream} had {numbers[stream, d.id]}: {d.idx}, {d.n}")
    ordered: dict[str, list[tuple[tuple[int, int], int]]] = defaultdict(list)
    for (stream, message_id), (idx, _) in numbers.items():
        ordered[stream].append((place(message_id), idx))
    for stream, found in ordered.items():
        yield from _rising(stream, sorted(found))


def _rising(stream: str, found: list[tuple[tuple[int, int], int]]) -> Iterator[Violation]:
    for (before, low), (after, high) in pairwise(found):
        if low >= high:
            yield Violation("C16 updated_idx grows", f"{stream}: {low} at {before}, {high} at {after}")


def _duplicates(courses: Courses) -> Iterator[Violation]:
    """Dedupe: an id is created once, and a duplicate has the message of an earlier call."""
    for p in courses.published.values():
        if p.message.updated_at is not None:
            continue
        rows = [(op, row) for op, row in p.tries if row is not None]
        if sum(row.status == "created" for _, row in rows) > 1:
            yield Violation("C12 dedupe", f"{p.message.id} was created twice")
        if len({row.message_id for _, row in rows if row.message_id}) > 1:
            yield Violation("C12 dedupe", f"{p.message.id} has two messages: {rows}")
        for op, row in rows:
            earlier = [o for o, r in p.tries if o is not op and o.began <= op.ended and o.maybe and (r is None or r.status == "created")]
            if row.status == "duplicate" and not earlier:
                yield Violation("C12 dedupe", f"{p.message.id} was a duplicate of nothing")
            if row.status not in ("created", "duplicate"):
                yield Violation("C12 status", f"{p.message.id}: {row.status}")


def _held(courses: Courses, stream: str, held: list[Held]) -> Iterator[Violation]:
    """The stream holds what may have been accepted, in order, each thing once."""
    yield from _rising(stream, [(place(h.message_id), h.idx) for h in held])
    if sorted(held, key=lambda h: place(h.message_id)) != held:
        yield Violation("C17 oldest first", stream)
    for what, counted in (("id", Counter(h.id for h in held)), ("n", Counter(h.n for h in held))):
        for value, count in counted.items():
            if count > 1:
                yield Violation("C12 held once", f"{stream} holds {what} {value} {count} times")
    for h in held:
        p = courses.published.get(h.n)
        if p is None or not p.maybe or p.stream != stream:
            yield Violation("C13 refused never appears", f"{stream} holds {h}")


def _accepted(courses: Courses, stream: str, held: list[Held]) -> Iterator[Violation]:
    """C47: an event that was accepted is there, under the id that the answer reported."""
    by_n = {h.n: h for h in held}
    for n, p in courses.published.items():
        if p.stream != stream:
            continue
        reported = {row.message_id for _, row in p.tries if row is not None and row.message_id and row.status in STORED}
        if p.sure and (n not in by_n or (reported and by_n[n].message_id not in reported)):
            yield Violation("C47 accepted is kept", f"{stream}: {p.message.id} ({n}) reported as {reported}, held: {by_n.get(n)}")


def _versions(courses: Courses, stream: str, held: list[Held]) -> Iterator[Violation]:
    """C15, C17, C31: each record, whose versions one client publishes one by one, has one that these answers allow."""
    calls: dict[str, list[tuple[Publish, Message]]] = defaultdict(list)
    for op in courses.history.operations:
        if isinstance(op, Publish) and op.stream == stream and op.maybe:
            for message in op.messages:
                calls[message.id].append((op, message))
    current = {h.id: h.n for h in held}
    for record, published in calls.items():
        states: dict[int, Message | None] = {0: None}  # what may stand
        for op, message in sorted(published, key=lambda call: call[0].began):
            if not op.ok:  # it may come at any time
                states[message.n] = message
                continue
            row = op.rows[op.messages.index(message)]
            before = {n: m for n, m in states.items() if status_of(m, message) == row.status}
            if not before:
                wanted = {status_of(m, message) for m in states.values()}
                yield Violation("C15 status", f"{record} at {op.began:.3f}: {row.status}, not {wanted}")
            kept = before if row.status in ("unchanged", "stale") else {message.n: message}
            states = {**kept, **{m.n: m for o, m in published if not o.ok and o.began < op.began}}
        if current.get(record, 0) not in states:
            yield Violation("C31 newest version", f"{record} is {current.get(record)}, not of {set(states)}")
        got = courses.history.rest.records.get(record, current.get(record))
        if got != current.get(record):
            yield Violation("C17 current version", f"{record} is {got}, in the stream {current.get(record)}")


def status_of(current: Message | None, new: Message) -> str:
    """C15: what becomes of a version."""
    if current is None:
        return "created"
    if current.n == new.n:
        return "unchanged"
    assert current.updated_at is not None and new.updated_at is not None
    if new.updated_at < current.updated_at:
        return "stale"
    return "deleted" if new.deleted else "updated"
