"""Runs pages of the documentation as a reader would: commands in a shell, files as written, outputs as shown.

A fenced block `sh` is typed into one shell, top to bottom. A comment that begins with `# → `, with the comment lines
that follow it, is what everything since the output before has printed: white space does not count, `…` stands for
anything, and a message id, a time or a UUID for any other. A block with a title is a file that the reader writes. A
block after `<!-- not run: reason -->` is left out.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import free_port

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+) -->\n+)?"
    r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^(?P=indent)```$',
    re.MULTILINE | re.DOTALL,
)
ADDRESS = "http://127.0.0.1:8080"
OTHER_PORT = "8081"  # of a second server that a page starts
_TIMES = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
_PATTERNS = (
    (r"\d{4}\\-\d\d\\-\d\dT\d\d:\d\d:\d\d(\\\.\d+)?Z", _TIMES),
    (r"[0-9a-f]{8}\\-[0-9a-f]{4}\\-[0-9a-f]{4}\\-[0-9a-f]{4}\\-[0-9a-f]{12}", "[0-9a-f-]{36}"),
    (r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])", "[0-9a-f]{16}"),
    (r"(?<!\d)\d{13}\\-\d+", r"\d{13}-\d+"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """What is typed up to an output, and that output; None where a block ends without one.

    `line` is where it begins.
    """

    line: int
    typed: str
    output: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """What a step printed, and the exit status of its last command."""

    step: Step
    printed: str
    status: int


def steps(page: str) -> Iterator[Step]:
    """The steps of a page; writing a file is one."""
    for block in _BLOCK.finditer(page):
        text = re.sub(rf"^{block['indent']}", "", block["text"], flags=re.MULTILINE)
        line = page[: block.start("text")].count("\n") + 1
        if block["reason"]:
            continue
        if block["title"]:
            yield Step(line, f"cat > {block['title']} <<'END_OF_FILE'\n{text}END_OF_FILE", "")
        elif block["language"] == "sh":
            yield from _steps_of(text, line)


def _steps_of(text: str, line: int) -> Iterator[Step]:
    typed: list[str] = []
    output: list[str] | None = None
    begin = line
    for number, row in enumerate([*text.splitlines(), ""], line):
        if row.startswith("# → "):
            output = [row[4:]]
        elif output is not None and row.startswith("#"):
            output.append(row[1:])
        else:
            if output is not None:
                yield Step(begin, "\n".join(typed), "\n".join(output))
                typed, output, begin = [], None, number
            typed.append(row)
    if "".join(typed).strip():
        yield Step(begin, "\n".join(typed), None)


def walk(page: str, directory: Path, url: str, timeout: float = 90, scene: str = "") -> list[Done]:
    """Follow a page in an empty directory, with the server at `url`, whose data are in the directory.

    `scene` is typed first: it sets up what the page shows.
    """
    (directory / ".venv").symlink_to(sys.prefix)
    todo, other = [*([Step(0, scene, None)] if scene else []), *steps(page)], str(free_port())
    script = ["exec 2>&1"]
    for step in todo:
        script += [step.typed, "printf '\\n\\036%d\\036\\n' $?"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    done = subprocess.run(
        ["bash"],
        input="\n".join(script).replace(ADDRESS, url).replace(OTHER_PORT, other).encode(),
        capture_output=True,
        cwd=directory,
        timeout=timeout,
        env=environ | {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "BROKER_URL": url},
    )
    printed_text = re.sub(rf"(?<!\d){other}(?!\d)", OTHER_PORT, done.stdout.decode().replace(url, ADDRESS))  # not within an id
    parts = printed_text.split("\036")
    assert len(parts) == 2 * len(todo) + 1, f"the shell ended early: {parts[-1]}"
    return [Done(step, printed.strip(), int(status)) for step, printed, status in zip(todo, parts[::2], parts[1::2], strict=False)]


def agrees(printed: str, shown: str) -> bool:
    """Whether a page's output stands for what was printed."""
    pattern = re.escape(re.sub(r"\s", "", shown))
    for like, any_such in _PATTERNS:
        pattern = re.sub(like, any_such.replace("\\", r"\\"), pattern)
    return re.fullmatch(pattern.replace("…", ".*"), re.sub(r"\s", "", printed), re.DOTALL) is not None
