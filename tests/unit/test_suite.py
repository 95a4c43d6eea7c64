"""Rules that the tests themselves keep."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TREES = {path.relative_to(TESTS).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(TESTS.rglob("*.py"))}


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, anywhere in its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_test_imports_a_benchmark() -> None:
    """What both need lies in tests/support: benchmarks come and go, and may need packages that the tests lack."""
    assert [file for file, tree in TREES.items() if any(name.partition(".")[0] == "benchmarks" for name in imports(tree))] == []
