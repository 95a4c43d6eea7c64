"""The documentation as plain Markdown: links lead somewhere, files that it names exist, lines are short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md", "docs/index.md", "docs/start.md")]
OWN += [page for folder in ("guides", "concepts", "reference", "internals") for page in sorted((ROOT / "docs" / folder).glob("*.md"))]
PAGES = [*OWN, *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path not in OWN)]
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


@pytest.mark.parametrize("page", OWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    assert [name for name in NAMED.findall(text_of(page)) if "*" not in name and "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", [page for page in OWN if not page.is_symlink()], ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_short(page: Path) -> None:
    # Links, and the two commands that must be one line, cannot be broken.
    lines = [line for line in text_of(page).splitlines() if len(line) > 120]
    assert [line for line in lines if not line.startswith(("|", "- [", "python3 -m venv"))] == []


def test_the_readme_fits_on_three_screens() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150
