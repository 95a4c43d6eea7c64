"""The reference is complete: every rule that the source cites, every setting, command, error, decision and file."""

import re
from pathlib import Path

import httpx

from http_api.cli.client import ClientSettings
from http_api.problems import CODES
from http_api.routes import OPERATIONS
from http_api.settings import SOURCES, Settings, sources
from tests.support.command_line import commands
from tests.support.processes import serving

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RULE = re.compile(r"\bC[1-9][0-9]?\b")
SOURCE = [
    path
    for folder in ("tests", "broker", "http_api", "lua", "docs", "examples")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".lua", ".js", ".ts", ".md", ".html") and "node_modules" not in path.parts
]


def reference(name: str) -> str:
    """A page of the reference."""
    return (DOCS / "reference" / name).read_text(encoding="utf-8")


API = reference("http-api.md")
RULES = re.findall(r"^### (C\d+) ", API, re.MULTILINE)


def test_every_rule_has_one_heading() -> None:
    assert sorted(RULES, key=lambda rule: int(rule[1:])) == [f"C{n}" for n in range(1, len(RULES) + 1)]


def test_every_rule_that_is_cited_is_in_the_reference() -> None:
    cited = {str(path.relative_to(ROOT)): set(RULE.findall(path.read_text(encoding="utf-8"))) for path in SOURCE}
    assert {name: rules - set(RULES) for name, rules in cited.items() if rules - set(RULES)} == {}
    assert len(set.union(*cited.values())) > 50


def test_the_reference_lists_every_call() -> None:
    calls = API.partition("## Calls")[2].partition("\n## ")[0]
    for name, path in (("S", "/v1/streams/{stream}"), ("K", "/v1/http-consumers/{consumer}")):
        calls = re.sub(rf"(?<=[` ]){name}(?=[`/])", path, calls)
    for operation in OPERATIONS:
        path = operation.path.replace(":path}", "}")
        listed = re.search(rf"{re.escape(path)}(?![\w/{{])", calls)
        assert listed or (path.endswith("/summary") and "`…/summary`" in calls), path


def test_the_settings_are_those_of_the_source() -> None:
    rows = re.findall(r"^\| (?:`(--[\w-]+)`|\u2013) \| `(BROKER_\w+)` \| (?:`([^`]*)`|\u2013) \|", reference("settings.md"), re.MULTILINE)
    table = {variable: (option, default) for option, variable, default in rows}
    for field, (option, variable, *_) in (SOURCES | sources(ClientSettings)).items():
        default = getattr(Settings() if field in SOURCES else ClientSettings(), field)
        shown = "" if default is None else f"./{default}" if field == "data_dir" else str(default)
        assert table.get(variable) == (option, shown), f"settings.md lacks {variable}, or tells another option or default"


def test_the_command_line_page_lists_every_command() -> None:
    listed = set()
    for cell in re.findall(r"^\| (`broker .*?) \|", reference("command-line.md"), re.MULTILINE):
        first, *others = re.findall(r"`([^`]*)`", cell)
        words = [word for word in first.split() if word == word.lower()]
        listed |= {" ".join(words), *(" ".join([*words[:-1], other]) for other in others)}
    assert {f"broker {name}" for name in commands()} - listed == set()


def test_the_errors_page_lists_every_code_with_its_status() -> None:
    rows = {(int(status), code) for status, code in re.findall(r"^\| (\d+) \| `(\w+)` \|", reference("errors.md"), re.MULTILINE)}
    assert {(status, code) for status, codes in CODES.items() for code in codes} <= rows


def test_the_metrics_page_lists_every_metric(tmp_path: Path) -> None:
    with serving("--port", "0", "--data-dir", str(tmp_path)) as server:
        text = httpx.get(f"{server.url}/metrics").text
    listed = set(re.findall(r"^\| `(broker_\w+)` \|", reference("metrics.md"), re.MULTILINE))
    assert set(re.findall(r"^# TYPE (broker_\w+) ", text, re.MULTILINE)) == listed


def test_every_decision_is_listed_under_its_title() -> None:
    page = (DOCS / "internals" / "decisions.md").read_text(encoding="utf-8")
    for path in sorted((DOCS / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"- [{title}](../decisions/{path.name})" in page, f"docs/internals/decisions.md lacks {path.name}, or its title"
