"""Group commit: who goes into which round, and what each caller gets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.commands.group_commit import MOST, ROUNDS, GroupCommit

pytestmark = pytest.mark.anyio


@dataclass
class Call:
    name: str
    weight: int = 1


@dataclass
class Store:
    """Answers a round on demand, with the names of its calls in capitals."""

    rounds: list[list[str]] = field(default_factory=list)
    answers: list[asyncio.Future[None]] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)

    async def send(self, lane: str, calls: Sequence[Call]) -> list[str]:
        self.rounds.append([call.name for call in calls])
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]
        return [call.name.upper() for call in calls]

    async def drop(self, lane: str, result: str) -> None:
        self.unclaimed.append(result)

    def commit(self, **options: Any) -> GroupCommit[str, Call, list[str], str]:
        return GroupCommit(self.send, lambda calls, answer: answer, self.drop, **options)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def start(commit: GroupCommit[str, Call, list[str], str], names: str, weight: int = 1) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(commit("lane", Call(name, weight))) for name in names]


async def test_a_lone_call_starts_at_once() -> None:
    store = Store()
    [call] = start(store.commit(), "a")
    await settle()
    assert store.rounds == [["a"]]
    store.answers[0].set_result(None)
    assert await call == "A"


async def test_calls_that_come_meanwhile_share_the_next_round_in_order() -> None:
    store = Store()
    commit = store.commit()
    calls = []
    for n in range(ROUNDS):
        calls += start(commit, str(n))
        await settle()
    calls += start(commit, "abc")
    await settle()
    assert store.rounds == [[str(n)] for n in range(ROUNDS)]
    store.answers[0].set_result(None)
    await settle()
    assert store.rounds[ROUNDS:] == [["a", "b", "c"]]
    calls += start(commit, "d")
    await settle()
    assert len(store.rounds) == ROUNDS + 1
    for _ in range(2):
        for answer in store.answers:
            if not answer.done():
                answer.set_result(None)
        await settle()
    assert await asyncio.gather(*calls) == [*(str(n) for n in range(ROUNDS)), "A", "B", "C", "D"]


async def test_a_round_takes_no_more_than_fits_but_always_one() -> None:
    store = Store()
    calls = start(store.commit(), "abcd", MOST // 2)
    calls += start(store.commit(), "e", 10 * MOST)
    await settle()
    assert sorted(store.rounds) == [["a", "b"], ["c", "d"], ["e"]]
    for answer in store.answers:
        answer.set_result(None)
    assert await asyncio.gather(*calls) == list("ABCDE")


async def test_a_full_kind_keeps_no_other_waiting_and_each_goes_in_order() -> None:
    store = Store()
    commit = store.commit(kind=lambda call: call.name.isupper())
    calls = start(commit, "abA", MOST)
    calls += start(commit, "cB", 1)
    await settle()
    assert store.rounds == [["a", "A"], ["b", "B"]]
    store.answers[0].set_result(None)
    await settle()
    assert store.rounds[2:] == [["c"]]
    for answer in store.answers[1:]:
        answer.set_result(None)
    assert await asyncio.gather(*calls) == list("ABACB")


async def test_calls_that_do_not_fit_together_go_apart() -> None:
    store = Store()
    calls = start(store.commit(fits=lambda taken, call: call.name not in [c.name for c in taken]), "aba")
    await settle()
    assert store.rounds == [["a", "b"], ["a"]]
    for answer in store.answers:
        answer.set_result(None)
    assert await asyncio.gather(*calls) == list("ABA")


async def test_an_error_is_everyones_and_the_next_round_goes_on() -> None:
    store = Store()
    commit = store.commit()
    calls = start(commit, "ab")
    await settle()
    store.answers[0].set_exception(ValueError("no"))
    assert [str(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == ["no", "no"]
    later = start(commit, "c")
    await settle()
    store.answers[1].set_result(None)
    assert await later[0] == "C"


async def test_an_error_in_sharing_out_is_everyones() -> None:
    store = Store()

    def share(calls: Sequence[Call], answer: list[str]) -> list[str]:
        raise ValueError("odd")

    commit: GroupCommit[str, Call, list[str], str] = GroupCommit(store.send, share)
    calls = start(commit, "ab")
    await settle()
    store.answers[0].set_result(None)
    assert [str(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == ["odd", "odd"]


async def test_what_cannot_be_given_back_hurts_nobody_else() -> None:
    store = Store()

    async def fail(lane: str, result: str) -> None:
        raise ValueError("gone")

    gone, stays = start(GroupCommit(store.send, lambda calls, answer: answer, fail), "ab")
    await settle()
    gone.cancel()
    store.answers[0].set_result(None)
    assert await stays == "B"


async def test_a_caller_that_went_away_before_its_round_is_not_in_it() -> None:
    store = Store()
    commit = store.commit()
    for n in range(ROUNDS):
        start(commit, str(n))
        await settle()
    gone, stays = start(commit, "ab")
    await settle()
    gone.cancel()
    await settle()
    store.answers[0].set_result(None)
    await settle()
    assert store.rounds[-1] == ["b"]
    store.answers[-1].set_result(None)
    assert await stays == "B"
    assert store.unclaimed == []


async def test_the_result_of_a_caller_that_went_away_in_its_round_is_given_back() -> None:
    store = Store()
    gone, stays = start(store.commit(), "ab")
    await settle()
    gone.cancel()
    store.answers[0].set_result(None)
    assert await stays == "B"
    await settle()
    assert store.unclaimed == ["A"]


async def test_lanes_do_not_wait_for_each_other_and_are_forgotten() -> None:
    store = Store()
    commit = store.commit()
    calls = [asyncio.create_task(commit(lane, Call(lane))) for lane in "xyz"]
    await settle()
    assert sorted(store.rounds) == [["x"], ["y"], ["z"]]
    for answer in store.answers:
        answer.set_result(None)
    await asyncio.gather(*calls)
    await settle()
    assert commit._lanes == {}
