"""One vocabulary of errors: the scripts, the wire contract, the library and the facade use the same words."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

import http_api.app  # noqa: F401 - so that every error is defined
from broker.commands.scripts import LUA, names
from broker.errors import SCRIPT_ERRORS, BrokerError
from http_api.problems import CODES, STATUS

COMMANDS = names()
README = (LUA / "README.md").read_text(encoding="utf-8")

# A word of scripts that means another one to users: what they had in mind is no longer there.
OTHER_CODES = {"WRONG_KIND": "STREAM_NOT_FOUND"}
# Words of Redis itself that the README explains.
REDIS_WORDS = {"NOGROUP"}

CODES_OF_STATUS = {
    400: {"INVALID_REQUEST", "INVALID_ACK_TOKEN"},
    401: {"UNAUTHENTICATED"},
    403: {"FORBIDDEN"},
    404: {"NOT_FOUND", "STREAM_NOT_FOUND", "CONSUMER_NOT_FOUND", "RECORD_NOT_FOUND", "MESSAGE_NOT_FOUND", "EVENT_NOT_FOUND"},
    405: {"METHOD_NOT_ALLOWED"},
    408: {"REQUEST_TIMEOUT"},
    409: {"STREAM_EXISTS", "CONSUMER_EXISTS", "STREAM_IN_USE"},
    413: {"PAYLOAD_TOO_LARGE"},
    414: {"URI_TOO_LONG"},
    415: {"UNSUPPORTED_MEDIA_TYPE"},
    422: {"VALIDATION_FAILED"},
    429: {"TOO_MANY_WAITING"},
    431: {"HEADERS_TOO_LARGE"},
    500: {"INTERNAL"},
    503: {"STORE_UNAVAILABLE"},
    504: {"OUTCOME_UNKNOWN"},
    507: {"STORE_FULL"},
}

_REPLY = re.compile(r"error_reply\(\s*['\"]([A-Z_]+)")
_WORD = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")
_LABEL = re.compile(r"^-- (KEYS\[1\]|ARGV|returns|errors|cost|uses:)\s+(.+)$")


def text(command: str) -> str:
    """A command with the shared files that it uses."""
    own = (LUA / f"{command}.lua").read_text(encoding="utf-8")
    uses = header(command).get("uses:", "").split()
    return "\n".join([*((LUA / "shared" / f"{part}.lua").read_text(encoding="utf-8") for part in uses), own])


def header(command: str) -> dict[str, str]:
    """The labelled parts of a command's header; `purpose` is the first."""
    parts: dict[str, str] = {}
    label = "purpose"
    for number, line in enumerate((LUA / f"{command}.lua").read_text(encoding="utf-8").splitlines()):
        if not line.startswith("--"):
            break
        labelled = _LABEL.match(line)
        if labelled:
            label, line = labelled[1], labelled[2]
            assert label not in parts or label == "uses:", f"{command}: {label} twice"
        elif number == 0:
            line = line.removeprefix(f"-- {command}: ")
        parts[label] = f"{parts.get(label, '')} {line.removeprefix('--').strip()}".strip()
    return parts


def words(command: str) -> set[str]:
    """The words by which a command refuses."""
    return set(_REPLY.findall(text(command)))


def readme_words() -> dict[str, set[str]]:
    """The README's table of errors: word -> the commands that answer it."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|[^|]*\|([^|]*)\|$", README, re.MULTILINE)
    return {word: set(commands.replace(",", " ").split()) for word, commands in rows}


def test_the_words_of_the_scripts_are_those_of_the_library() -> None:
    answered = set().union(*(words(command) for command in COMMANDS))
    assert answered == SCRIPT_ERRORS.keys()


def test_the_words_of_the_library_are_the_codes_of_their_errors() -> None:
    assert {word: kind.code for word, (kind, _) in SCRIPT_ERRORS.items()} == {word: word for word in SCRIPT_ERRORS} | OTHER_CODES


def test_the_table_of_the_wire_contract_names_every_word_and_who_answers_it() -> None:
    answered_by: dict[str, set[str]] = defaultdict(set)
    for command in COMMANDS:
        for word in words(command):
            answered_by[word].add(command)
    table = readme_words()
    assert {word: commands for word, commands in table.items() if word not in REDIS_WORDS} == answered_by
    assert table.keys() >= REDIS_WORDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_wire_contract_has_a_section_for_every_command_with_its_errors(command: str) -> None:
    (section,) = re.findall(rf"^\*\*{command}\*\* — (.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    _, _, errors = section.rpartition("Errors:")
    assert set(re.findall(r"`([A-Z_]+)`", errors)) == words(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_header_tells_purpose_keys_returns_errors_and_cost(command: str) -> None:
    found = header(command)
    assert {"purpose", "KEYS[1]", "returns", "errors", "cost"} <= found.keys()
    assert (LUA / f"{command}.lua").read_text(encoding="utf-8").startswith(f"-- {command}: ")
    assert found["purpose"].endswith((".", ":"))
    assert found["KEYS[1]"] == ("a registry" if command == "register" else "broker:{S}")
    assert found["cost"].startswith("O(")
    assert ("ARGV" in found) == ("ARGV" in (LUA / f"{command}.lua").read_text(encoding="utf-8").partition("\nlocal ")[2])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_header_tells_the_words_that_its_script_answers(command: str) -> None:
    assert set(_WORD.findall(header(command)["errors"])) == words(command)


def test_every_shared_file_says_what_it_is_and_is_used() -> None:
    shared = {path.stem for path in (LUA / "shared").glob("*.lua")}
    for name in shared:
        assert (LUA / "shared" / f"{name}.lua").read_text(encoding="utf-8").startswith(f"-- {name}: ")
    assert set().union(*(header(command).get("uses:", "").split() for command in COMMANDS)) == shared


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_no_lua_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 200


def test_every_code_has_its_status() -> None:
    assert {status: set(codes) for status, codes in CODES.items()} == CODES_OF_STATUS
    assert sum(map(len, CODES.values())) == len({kind.code for kind in STATUS})


def _all_errors(kind: type[BrokerError] = BrokerError) -> set[type[BrokerError]]:
    return {kind}.union(*(_all_errors(below) for below in kind.__subclasses__()))


def test_every_error_of_the_library_has_a_code_of_the_table() -> None:
    known = set().union(*CODES_OF_STATUS.values())
    assert {kind.code for kind in _all_errors()} == known


def test_an_error_of_a_code_of_its_own_has_a_status_of_its_own() -> None:
    for kind in _all_errors():
        if kind.code != "INTERNAL":
            assert STATUS[kind] in CODES, kind
