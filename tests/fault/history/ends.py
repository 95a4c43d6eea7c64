"""The end: all that was accepted was acked or is a dead letter, and the counts say so (C27, C28, C31, C37, C47)."""

from collections import Counter
from collections.abc import Iterator

from tests.fault.history.courses import Course, Courses, Violation
from tests.fault.history.operations import Letter, Rules


def violations(courses: Courses) -> Iterator[Violation]:
    """What is lost, what is left, and letters that are none."""
    rest = courses.history.rest
    for rules in courses.rules.values():
        letters = rest.letters.get(rules.name, [])
        yield from _letters(courses, rules, letters)
        yield from _lost(courses, rules, {letter.message_id for letter in letters})
        counts = rest.counts.get(rules.name)
        if counts is None:
            yield Violation("C47 drained", f"{rules.name} was not")
            continue
        reported = (counts.num_pending, counts.num_ack_pending, counts.num_redelivered, counts.num_dead)
        if reported != (0, 0, 0, len(letters)):
            yield Violation("C28 counts in the end", f"{rules.name}: {reported}, and {len(letters)} dead letters are listed")


def _lost(courses: Courses, rules: Rules, dead: set[str]) -> Iterator[Violation]:
    """C31, C32, C47: each message that the stream holds was acked or is dead; of records, the newest versions."""
    for held in courses.history.rest.held.get(rules.stream, []):
        p = courses.published.get(held.n)
        if p is None or rules.provider not in ("", p.message.provider) or p.message.ttl is not None:
            continue
        course = courses.last(rules.name, held.message_id)
        if held.message_id in dead and course.is_acked() and not _died_after(courses, course):
            yield Violation("C37 dead letters", f"acked and dead: {course}")
        if held.message_id not in dead and not course.may_be_acked():
            yield Violation("C47 accepted is delivered", f"n {held.n} is neither acked nor dead: {course}")


def _died_after(courses: Courses, course: Course) -> bool:
    """Whether the ack was of no live delivery, by a plain client who acks what is not out."""
    return any(not sure for _, sure in course.plain)


def _letters(courses: Courses, rules: Rules, letters: list[Letter]) -> Iterator[Violation]:
    """C27, C34, C37: a letter has its reason, and what died is there."""
    for message_id, count in Counter(letter.message_id for letter in letters).items():
        if count > 1:
            yield Violation("C37 dead letters", f"{rules.name} lists {message_id} {count} times")
    for letter in letters:
        course = courses.last(rules.name, letter.message_id)
        rejected = any(s.op.how == "reject" for s in course.settled)
        if letter.reason == "rejected" and not rejected:
            yield Violation("C37 dead letters", f"rejected by nobody: {course}")
        elif letter.reason == "max_deliver" and letter.count != rules.max_deliver:
            yield Violation("C27 max_deliver", f"dead after {letter.count} deliveries: {course}")
        elif letter.reason not in ("rejected", "max_deliver"):
            yield Violation("C37 dead letters", f"{letter}")
        elif letter.reason == "max_deliver" and not course.seen and not courses.lost[rules.name]:
            yield Violation("C27 max_deliver", f"dead, and nobody saw it: {course}")
    listed = {letter.message_id for letter in letters}
    held = {h.message_id for h in courses.history.rest.held.get(rules.stream, [])}
    for course in courses.of(rules.name):
        if course.message_id in listed or course.message_id not in held or course.epoch not in ("", courses.epochs[rules.name]):
            continue
        for s in course.settled:
            if s.sure and s.op.how == "reject" and not courses.maybe(rules.name, "redrive", float("inf"), s.op.began):
                yield Violation("C34 rejected is dead", f"and is not listed: {course}")
