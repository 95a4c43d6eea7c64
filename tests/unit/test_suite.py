"""Rules that the tests themselves keep."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TREES = {path.relative_to(TESTS).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(TESTS.rglob("*.py"))}


def imports(tree: ast.Module) -> Iterator[str]:
    """What a file imports, anywhere in its text: modules, and names of modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_test_imports_a_benchmark() -> None:
    """What both need lies in tests/support: benchmarks come and go, and may need packages that the tests lack."""
    assert [file for file, tree in TREES.items() if any(name.partition(".")[0] == "benchmarks" for name in imports(tree))] == []


def test_no_module_of_tests_imports_another() -> None:
    """What both need lies in a module beside them, or in tests/support: else a test that moves breaks others."""
    found = {file: [name for name in imports(tree) if name.startswith("tests.") and ".test_" in name] for file, tree in TREES.items()}
    assert {file: names for file, names in found.items() if names} == {}


# A loop that looks whether something has happened may rest so long, in seconds.
REST_S = 0.02
# Who may sleep longer, and why no condition and no moved clock does.
SLEEPERS = {
    "fault/history/": "workers that work for a while, and faults that last",
    "fault/test_clock.py": "an ack wait is measured on Redis' own clock, between two deliveries at different times",
    "edge/test_half_close.py": "that no further step is made shows only after the time of some",
    "contract/test_future_starts.py": "the ids of entries follow Redis' own clock, and have to pass a start",
    "unit/test_link.py": "a process that stands still: nothing can happen in it, nor be waited for",
}


def sleeps(tree: ast.Module) -> Iterator[int]:
    """The lines in which a file sleeps for longer than a rest, or for a time that its text does not tell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep":
            (time,) = node.args
            if not isinstance(time, ast.Constant) or not isinstance(time.value, int | float) or time.value > REST_S:
                yield node.lineno


def test_tests_wait_for_conditions_and_do_not_sleep() -> None:
    """A sleep is too short on a busy machine and too long on any other.

    `until` waits, and tests/support/clock.py moves time.
    """
    found = {file: lines for file, tree in TREES.items() if not file.startswith("support/") and (lines := list(sleeps(tree)))}
    assert {file: lines for file, lines in found.items() if not file.startswith(tuple(SLEEPERS))} == {}
    assert [sleeper for sleeper in SLEEPERS if not any(file.startswith(sleeper) for file in found)] == []
