"""Lua spells Redis keys in one file, Python in one module, and the wire contract has the same."""

import re
from pathlib import Path

import pytest

from broker import keys
from broker.commands.scripts import LUA, key_texts, read

README = (LUA / "README.md").read_text(encoding="utf-8")
ROOT = LUA.parent
# The text of a key where code appends it to another one.
_IN_LUA = re.compile(r"\.\. *':[a-z-]{2,}:?'")
_IN_PYTHON = re.compile(r"""["']broker:[a-z{]|\) \+ f?["']:|[})]:[a-z-]+["']""")
_PYTHON = sorted(path for package in ("broker", "http_api") for path in (ROOT / package).rglob("*.py") if path.name != "keys.py")
# Fields of the hash of filters are spelled so too.
_FIELDS = {".. ':at'", ".. ':until'", ".. ':uses'"}


def of_lua() -> set[str]:
    """The keys of `keys.lua`, with `F`, `M`, `N` or `C` for what follows the text."""
    rows = re.findall(r"^  \w+ = '(.*)', +-- (?::([A-Z]) )?", (LUA / "keys.lua").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(key_texts()) > 30
    return {"broker:{S}"} | {f"broker:{{S}}{text}{rest}" for text, rest in rows} - {"broker:{S}:index:all"}


def of_the_contract() -> set[str]:
    """The keys of the wire contract's table; `…` stands for the key of the stream."""
    cells = re.findall(r"^\| (`(?:broker:|…).*?`) \| (?:hash|stream|string|set|zset) \|", README, re.MULTILINE)
    return {key.replace("…", "broker:{S}") for cell in cells for key in re.findall(r"`(.*?)`", cell)}


def test_the_keys_of_lua_are_those_of_the_wire_contract() -> None:
    assert of_lua() == {key for key in of_the_contract() if key.startswith("broker:{S}")}


def test_the_keys_of_python_are_those_of_lua_and_of_the_wire_contract() -> None:
    of_a_stream = {keys.stream("S"), keys.log("S"), keys.wake("S"), keys.consumers("S"), keys.gate("S", "C"), keys.mark("S", "M")}
    assert of_a_stream <= of_lua()
    of_all_streams = {value for name, value in vars(keys).items() if name.isupper()}
    assert of_all_streams == {key for key in of_the_contract() if not key.startswith("broker:{S}")}


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_no_other_lua_file_spells_a_key(path: Path) -> None:
    assert set(_IN_LUA.findall(path.read_text(encoding="utf-8"))) <= _FIELDS


@pytest.mark.parametrize("path", _PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_python_module_spells_a_key(path: Path) -> None:
    assert _IN_PYTHON.findall(path.read_text(encoding="utf-8")) == []


def test_a_key_that_is_misspelled_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.commands.scripts._text", lambda path: "x = KEY.reccords" if path == "ack" else "  records = ':records',")
    key_texts.cache_clear()
    with pytest.raises(KeyError, match="reccords"):
        read("ack")
    monkeypatch.undo()
    key_texts.cache_clear()
    assert "KEY." not in read("ack")
