"""All rules: a history in, violations out."""

from collections.abc import Iterator

from tests.fault.history import counts, deliveries, ends, order, publishes
from tests.fault.history.courses import Courses, Violation
from tests.fault.history.operations import History


def violations(history: History) -> list[Violation]:
    """What the history breaks; empty where a correct broker can have answered so."""
    courses = Courses(history)

    def found() -> Iterator[Violation]:
        for part in (deliveries, order, publishes, counts, ends):
            yield from part.violations(courses)

    return list(found())
