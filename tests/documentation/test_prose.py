"""The documentation as plain Markdown: links lead somewhere, named files exist.

Pages and Lua: lines are short, words are plain.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmarks", "broker", "deploy", "docs", "examples", "http_api", "lua", "tests")
MARKDOWN = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
# Every page of the project. A symbolic link is read where it is: links on the page must work from there too.
PAGES = sorted(page for page in MARKDOWN if not {"node_modules", "site-packages"} & set(page.parts))
TEXTS = [page for page in PAGES if not page.is_symlink()]
LUA = sorted((ROOT / "lua").rglob("*.lua"))
# This file spells the words out.
PYTHON = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path != Path(__file__).resolve())
# A row of these tables cannot be shorter: test_error_words reads the commands of an error from one cell, and a checksum
# has 64 digits.
WIDE_TABLES = ("lua/README.md", "http_api/console/static/vendor/README.md", "tests/console/vendor/README.md")
# Words that the project once used for many things. "behind" remains for servers and their load balancer,
# and for consumers with a backlog.
VAGUE = re.compile(r"anew|parted|behind|whatever |in place of|told ", re.IGNORECASE)
BEHIND = re.compile(
    r"behind[\s_]+(?:a load balancer|a_balancer|any balancer|haproxy)|how far behind|is behind|ConsumerBehind", re.IGNORECASE
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`((?:broker|http_api|lua|tests|docs|benchmarks|examples|\.ci)/[\w./-]+|[A-Z]{4,}\.md|\w+\.(?:toml|yaml|txt))`")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and Python-Markdown make them."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in found)
    return {re.sub(r"[ ]", "-", re.sub(r"[^\w\- ]", "", heading.lower().strip())) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(FENCE.sub("", text_of(page))):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        # A page that stands in docs/ by a symbolic link is read from there.
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("page", [page for page in TEXTS if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    assert [name for name in NAMED.findall(text_of(page)) if "*" not in name and "NAME" not in name and not (ROOT / name).exists()] == []


def prose(text: str) -> list[str]:
    """The lines of a page that are not code. A paragraph that is indented from its first line on is code."""
    paragraphs = FENCE.sub("", text).split("\n\n")
    return [line for part in paragraphs if not part.lstrip("\n").startswith("    ") for line in part.splitlines()]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_prose_are_short(page: Path) -> None:
    wide = str(page.relative_to(ROOT)) in WIDE_TABLES
    assert [line for line in prose(text_of(page)) if len(line) > 120 and not (wide and line.startswith("|"))] == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_words_are_plain(page: Path) -> None:
    assert VAGUE.findall(BEHIND.sub("", text_of(page))) == []


@pytest.mark.parametrize("path", LUA, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_of_lua_are_short_and_its_words_plain(path: Path) -> None:
    assert [line for line in text_of(path).splitlines() if len(line) > 120] == []
    assert VAGUE.findall(text_of(path)) == []


# ruff checks the length of Python's lines (W505).
@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_of_python_are_plain(path: Path) -> None:
    assert VAGUE.findall(BEHIND.sub("", text_of(path))) == []


def test_code_is_not_prose() -> None:
    text = "One.\n\n    code\n      more\n\n- item\n    - inner\n\n```sh\ncommand\n```\n\nTwo."
    assert [line for line in prose(text) if line] == ["One.", "- item", "    - inner", "Two."]


def test_the_readme_fits_on_three_screens() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_fits_on_one_page(page: Path) -> None:
    assert len(text_of(page).splitlines()) <= 60


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "guides").glob("*.md")), ids=lambda page: page.stem)
def test_a_guide_says_who_it_is_for(page: Path) -> None:
    assert re.match(r"# .+\n\nFor those ", text_of(page))
