"""The lines of `lua/README.md` that a reader may paste into a shell, and what the page says that they answer."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from broker.commands.scripts import LUA

PAGE = (LUA / "README.md").read_text(encoding="utf-8")
_LINE = re.compile(r"^    (redis-cli (?:.*\\\n)*.*)\n(?:      # → (.*)\n)?", re.MULTILINE)
_TAKE = re.compile(r"^    (set -- \$\((.*)\); (.*))$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Line:
    """A call of redis-cli as the page has it, and its reply in the page's spelling; None where the page tells none."""

    text: str
    reply: str | None

    def arguments(self, variables: dict[str, str]) -> list[str]:
        """The command and its arguments, as the shell gives them to redis-cli."""
        words = shlex.split(self.text.replace("\\\n", ""))[1:]
        return [re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), word) for word in words]

    @property
    def about_a_delivery(self) -> bool:
        """It names a delivery that must be out."""
        return "$NUMBER" in self.text or bool(re.search("broker_v1_(release|message) ", self.text))


def lines(first_word: str) -> list[Line]:
    """The page's lines that call this command of Redis (FCALL, ACL, …), in their order."""
    found = [Line(text, reply or None) for text, reply in _LINE.findall(PAGE)]
    return [line for line in found if line.arguments({})[0] == first_word]


def taking() -> tuple[str, Line, dict[str, int]]:
    """The shell line that takes a delivery, its call, and the position of each variable in the reply, from 0."""
    ((text, call, assignments),) = _TAKE.findall(PAGE)
    places = {name: int(place) - 1 for name, place in re.findall(r"(\w+)=\$\{?(\d+)\}?", assignments)}
    return text, Line(call, None), places


def flat(reply: Any) -> list[str]:
    """A reply's strings and numbers one after the other, as redis-cli prints them into a pipe."""
    if isinstance(reply, list):
        return [text for part in reply for text in flat(part)]
    return [reply.decode() if isinstance(reply, bytes) else str(reply)]


def told(reply: str) -> Any:
    """A reply in the page's spelling: JSON, or a bare word; `…` as a last element stands for more."""
    if reply[0] not in '["0123456789':
        return reply
    return json.loads(re.sub(r", …\]", ', "…"]', reply))


def is_as_told(reply: Any, page: Any) -> bool:
    """Whether a reply has the page's form. Times, epochs, ids and a message's number differ from run to run."""
    if isinstance(page, list):
        more = page[-1:] == ["…"]
        known = page[:-1] if more else page
        return (
            isinstance(reply, list)
            and (len(reply) >= len(known) if more else len(reply) == len(known))
            and all(is_as_told(a, b) for a, b in zip(reply, known, strict=False))
        )
    if isinstance(page, int):
        return isinstance(reply, int) and (reply == page or (page >= 1000 and reply >= 1000))
    pattern = re.escape(page).replace("…", ".*")
    pattern = pattern.replace("9f1c0a7be2d34856", "[0-9a-f]{16}")  # the epoch
    pattern = re.sub(r"(\d{13})\\-\d+", r"\1-\\d+", pattern)  # ids of the same ms count up
    pattern = re.sub(r"\d{13,16}", lambda m: rf"\d{{{len(m[0])}}}", pattern)
    pattern = re.sub(r"^\d+(?=\\ [a-z]+)", r"\\d+", pattern)
    return isinstance(reply, bytes) and re.fullmatch(pattern, reply.decode()) is not None
