"""Scripts: builds each command from the files of `lua/`.

A script is the prelude, the shared files that the command's `-- uses:` lines name, and the command. Key names from
`keys.lua` are substituted. Redis addresses a script by the SHA-1 of its text, so servers of different versions can
share one Redis.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LUA = Path(__file__).resolve().parents[2] / "lua"
# The limit that the prelude contains.
MAX_ANSWER_BYTES = 8 << 20
_KEY_ROW = re.compile(r"^  (\w+) = '(.+)',", re.MULTILINE)
_KEY = re.compile(r"\bKEY\.(\w+)")
_USES = re.compile(r"^-- uses: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One command: its text, and the SHA-1 of the text in hex."""

    name: str
    text: str
    sha: str


@lru_cache(maxsize=1)
def key_texts() -> dict[str, str]:
    """The suffixes of a stream's other keys: the table of `keys.lua`."""
    return dict(_KEY_ROW.findall(_text("keys")))


def read(path: str) -> str:
    """The text of a file in `lua/`, named without its extension. KeyError: it uses a key that `keys.lua` lacks."""
    return _KEY.sub(lambda found: f"'{key_texts()[found.group(1)]}'", _text(path))


def _text(path: str) -> str:
    return (LUA / f"{path}.lua").read_text(encoding="utf-8")


def uses(command: str) -> list[str]:
    """The shared files that a command's text names, in order."""
    return " ".join(_USES.findall(command)).split()


def build(name: str, prelude: str) -> Script:
    """Build the command `name` with `prelude`."""
    command = read(name)
    shared = [read(f"shared/{part}") for part in uses(command)]
    text = "\n".join([prelude, *shared, command])
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def names() -> list[str]:
    """All commands, sorted."""
    return sorted(path.stem for path in LUA.glob("*.lua") if path.stem not in ("prelude", "keys"))


@lru_cache(maxsize=1)
def prelude() -> str:
    """The text that precedes every command."""
    return read("prelude")


class Scripts:
    """All commands with one prelude. Tests pass a prelude with their own clock.

    An answer with messages ends before `max_answer_bytes` (C54).
    """

    def __init__(self, prelude_text: str | None = None, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.max_answer_bytes = max_answer_bytes
        text = prelude_text if prelude_text is not None else prelude()
        text = text.replace(f"MAX_ANSWER_BYTES = {MAX_ANSWER_BYTES}\n", f"MAX_ANSWER_BYTES = {max_answer_bytes}\n")
        self._scripts = {name: build(name, text) for name in names()}

    def __getitem__(self, name: str) -> Script:
        return self._scripts[name]
