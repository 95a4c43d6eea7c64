"""Commands on Redis itself, run where there is no store: none is made that nobody asked for (C48, C51)."""

from pathlib import Path

import pytest

from tests.support.command_line import Cli

COMMANDS = [
    ("token", "create", "a", "--scope", "admin"), ("token", "list"), ("token", "revoke", "a"), ("functions", "load"),
    ("functions", "check"), ("check",),
]  # fmt: skip


@pytest.fixture
def here(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a store, which commands are run in."""
    place = tmp_path_factory.mktemp("d")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("args", COMMANDS)
def test_in_a_wrong_directory_no_store_is_made(here: Path, args: tuple[str, ...]) -> None:
    said = Cli("").refused(*args)
    assert said == f"there is no store in {here}/broker-data; name one by --redis or --data-dir, or make it with --create"
    assert list(here.iterdir()) == []


def test_a_store_is_made_where_that_is_asked_for_and_said(here: Path) -> None:
    cli = Cli("")
    made = cli.run("token", "create", "a", "--scope", "admin", "--create")
    assert (made.returncode, made.stdout[:4]) == (0, b"brk_")
    assert made.stderr.decode().splitlines() == [
        f"warning: A new store was made in {here}/broker-data.",
        f"This is the only time that the token is shown; a hash of it is kept in --data-dir {here}/broker-data",
    ]
    # It is there now.
    assert b'"name": "a"' in cli.run("token", "list").stdout
    assert cli.run("check").stdout.decode().splitlines()[-1] == f"store        --data-dir {here}/broker-data"


@pytest.mark.parametrize("named", [("--data-dir", "mine"), ()])
def test_a_directory_that_is_named_is_made(here: Path, named: tuple[str, ...]) -> None:
    cli = Cli("")
    cli.environ |= {} if named else {"BROKER_DATA_DIR": "mine"}
    done = cli.run("functions", "load", *named)
    assert done.returncode == 0
    said = done.stderr.decode().splitlines()
    assert said == [f"warning: A new store was made in {here}/mine.", f"into --data-dir {here}/mine"]


def test_a_folder_of_other_things_is_no_store(here: Path) -> None:
    (here / "broker-data").mkdir()
    (here / "broker-data" / "notes.txt").touch()
    assert Cli("").refused("check").startswith("there is no store in ")
