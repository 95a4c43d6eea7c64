"""Everything mixed under faults breaks no rule of the contract, and the checker that says so catches broken engines."""

import asyncio
import fcntl
import json
import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fault.history.campaign import campaign
from tests.fault.history.check import violations
from tests.fault.history.engines import Mutant, engine_lanes, engine_of
from tests.fault.history.mutants import MUTANTS
from tests.fault.history.operations import History
from tests.fault.history.rounds import play
from tests.support.servers import BACKENDS, binary_of, running

SECONDS = 15.0  # of faults on each server; `python -m benchmarks.history --minutes 30` for more
MUTANT_SECONDS = 1.2
TRIES = 8  # rounds in which a broken engine must be caught
AT_ONCE = 6  # rounds that are played beside each other, for they mostly wait for what expires


@pytest.mark.parametrize("backend", BACKENDS)
def test_c23_c24_c28_c47_no_rule_is_broken_under_kills_stops_cuts_and_restarts(backend: str, tmp_path: Path) -> None:
    kept = tmp_path / "history.json"

    def judged(history: History, broken: list[str]) -> None:
        if broken:
            history.save(kept)

    figures = asyncio.run(campaign(binary_of(backend), SECONDS, seed=17, judged=judged))
    assert not figures.violations, f"the history is {kept}"
    assert sum(len(times) for times in figures.back.values()) >= 3
    assert figures.operations["Fetch ok"] > 100


async def broken_rules(url: str, mutant: Mutant | None, directory: Path) -> set[str]:
    """What rounds without faults break on an engine in this process: of a mutant until it is caught."""
    engine, functions = engine_of(mutant, directory)
    found: set[str] = set()
    patience = 60 if mutant is None else 2  # a broken engine may never be drained
    for number in range(TRIES):
        async with engine_lanes(url, engine, functions) as recorder:
            history = await play(recorder, f"m{number}", MUTANT_SECONDS, seed=number, patience=patience)
        found |= {violation.rule for violation in await asyncio.to_thread(violations, history)}
        if mutant is not None and mutant.is_caught(found):
            break
    return found


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The rules that each mutant broke, and those that the engine itself did, whose name is empty.

    The first of several pytest workers plays the rounds, and the others read what it found.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "caught.json").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        if not text:
            text = json.dumps({name: sorted(rules) for name, rules in played(tmp_path_factory).items()})
            file.write(text)
    return {name: set(rules) for name, rules in json.loads(text).items()}


def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What the rounds of all engines break, by mutant."""
    found: dict[str, set[str]] = defaultdict(set)
    left: list[Mutant | None] = [*reversed(MUTANTS), None]

    async def work(url: str) -> None:
        while left:
            mutant = left.pop()
            directory = tmp_path_factory.mktemp("lua")
            found[mutant.name if mutant else ""] = await broken_rules(url, mutant, directory)

    async def work_beside_each_other() -> None:
        with ExitStack() as stack:
            servers = [stack.enter_context(running(BACKENDS[0])) for _ in range(AT_ONCE)]
            await asyncio.gather(*(work(server.url) for server in servers))

    asyncio.run(work_beside_each_other())
    return found


def test_the_checker_has_nothing_against_the_engine_itself(caught: dict[str, set[str]]) -> None:
    assert caught[""] == set()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_checker_catches(mutant: Mutant, caught: dict[str, set[str]]) -> None:
    assert mutant.is_caught(caught[mutant.name]), f"not by {mutant.rule}, but by {caught[mutant.name] or 'nothing'}"


@pytest.mark.parametrize("text", ["no such text", "local"])
def test_a_mutant_whose_text_does_not_stand_there_once_fails(text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"its text stands \d+ times in lua/next.lua"):
        engine_of(Mutant("stale", "next", text, "", "C24"), tmp_path)
