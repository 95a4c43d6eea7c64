"""The history checker on histories written by hand: what breaks a rule, and what an unknown outcome permits."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.fault.history.check import violations
from tests.fault.history.operations import (
    Control,
    Delivery,
    Fetch,
    Held,
    History,
    Letter,
    Look,
    Message,
    Noted,
    Outcome,
    PlainAck,
    Publish,
    Rest,
    Row,
    Rules,
    Settle,
)

OK, FAIL, UNKNOWN = Outcome
STREAM, C, EPOCH = "s", "c", "e" * 16
END = 100.0


def noted(at: float, outcome: Outcome = OK, took: float = 0.01) -> dict[str, Any]:
    """When and how a call went."""
    return {"lane": "http-0", "began": at, "ended": at + took, "outcome": outcome}


def publish(n: int, at: float, outcome: Outcome = OK, status: str = "created", **fields: Any) -> Publish:
    """Message n, which becomes the entry n-0."""
    message = Message(n=n, id=fields.pop("id", f"m{n}"), provider="a", **fields)
    return Publish(**noted(at, outcome), stream=STREAM, messages=[message], rows=[Row(f"{n}-0", status)] if outcome is OK else [])


def given(n: int, number: int = 1, count: int | None = None, key: str | None = None, epoch: str = EPOCH) -> Delivery:
    return Delivery(f"{n}-0.{number}.{epoch}", f"{n}-0", number if count is None else count, n, key, n)


def fetch(at: float, *deliveries: Delivery, outcome: Outcome = OK, took: float = 0.01, batch: int = 0, **counts: Any) -> Fetch:
    return Fetch(**noted(at, outcome, took), consumer=C, batch=batch or len(deliveries), deliveries=[*deliveries], **counts)


def settle(at: float, n: int, number: int = 1, how: str = "ack", outcome: Outcome = OK, **fields: Any) -> Settle:
    token = f"{n}-0.{number}.{fields.pop('epoch', EPOCH)}"
    stale = [token] if fields.pop("stale", False) else []
    return Settle(**noted(at, outcome), consumer=C, how=how, tokens=[token], stale=stale, **fields)


def control(at: float, what: str, outcome: Outcome = OK) -> Control:
    return Control(**noted(at, outcome), consumer=C, what=what)


def broken(
    operations: Sequence[Noted], *, held: Sequence[int] = (1,), dead: Sequence[Letter] = (),
    names: dict[int, str] | None = None, **rules: Any,
) -> set[str]:  # fmt: skip
    """The rules that a history breaks. In the end the stream holds these messages, and the consumer is drained."""
    names = names or {}
    history = History(
        consumers=[Rules(name=C, stream=STREAM, ack_wait=1.0, **rules)],
        operations=[*operations],
        rest=Rest(
            held={STREAM: [Held(f"{n}-0", names.get(n, f"m{n}"), n, n) for n in held]},
            letters={C: [*dead]},
            counts={C: Look(**noted(END), consumer=C, num_dead=len(dead))},
        ),
    )
    return {violation.rule for violation in violations(history)}


GIVEN: list[Noted] = [publish(1, 1), fetch(2, given(1))]
DONE: list[Noted] = [*GIVEN, settle(2.1, 1)]


def test_what_is_published_delivered_and_acked_breaks_nothing() -> None:
    assert broken(DONE) == set()


@pytest.mark.parametrize(
    "operations",
    [
        [*GIVEN, settle(2.1, 1, outcome=UNKNOWN)],
        [publish(1, 1, UNKNOWN), fetch(2, given(1)), settle(2.1, 1)],
        [*DONE, publish(2, 3, UNKNOWN), publish(3, 3, FAIL)],
        # Nobody saw the first delivery, or its ack came late, or the release of a server that was left.
        [publish(1, 1), fetch(2, outcome=UNKNOWN, batch=1), fetch(3.1, given(1, 2)), settle(3.2, 1, 2)],
        [publish(1, 1), fetch(2, outcome=UNKNOWN, batch=1), fetch(2.1, given(1, 2, 1)), settle(2.2, 1, 2)],
        [*GIVEN, settle(2.1, 1, outcome=UNKNOWN), settle(2.2, 1, stale=True)],
        # A nack that may have been done.
        [*GIVEN, settle(2.1, 1, how="retry", outcome=UNKNOWN), fetch(2.2, given(1, 2)), settle(2.3, 1, 2)],
        # The first delivery may have been made as early as its call began.
        [publish(1, 1), fetch(2, given(1), took=1.0), fetch(3.1, given(1, 2)), settle(3.2, 1, 2)],
        # A token twice in a list: the first is taken, the second stale.
        [
            publish(1, 1),
            fetch(2, given(1)),
            Settle(**noted(2.1), consumer=C, how="ack", tokens=[given(1).token] * 2, stale=[given(1).token]),
        ],
    ],
)  # fmt: skip
def test_an_unknown_outcome_permits_both(operations: list[Noted]) -> None:
    assert broken(operations) == set()


@pytest.mark.parametrize(
    ("rule", "operations"),
    [
        ("C47 accepted is delivered", [publish(1, 1)]),
        ("C47 accepted is delivered", [*GIVEN, settle(2.1, 1, outcome=FAIL)]),
        ("C13 refused never appears", [publish(1, 1, FAIL), fetch(2, given(1)), settle(2.1, 1)]),
        ("C13 refused never appears", [publish(1, 3), fetch(2, given(1)), settle(2.1, 1)]),
        ("C22 delivered to somebody", [publish(1, 1), fetch(2, given(1, 2)), settle(2.1, 1, 2)]),
        ("C22 deliver count", [*GIVEN, fetch(3.1, given(1, 2, 1)), settle(3.2, 1, 2)]),
        ("C23 no two live deliveries", [*GIVEN, fetch(2.9, given(1, 2)), settle(2.95, 1, 2)]),
        ("C23 one delivery, one worker", [*GIVEN, fetch(3.1, given(1)), settle(3.2, 1)]),
        ("C24 acks are final", [*DONE, fetch(4, given(1, 2)), settle(4.1, 1, 2, outcome=UNKNOWN)]),
        ("C24 settled once", [*DONE, settle(2.2, 1)]),
        ("C24 stale tokens are inert",
         [*GIVEN, fetch(3.1, given(1, 2)), settle(3.2, 1, how="retry")]),
        ("C24 tokens of this consumer", [*DONE, settle(3, 1, epoch="f" * 16)]),
        ("C24 live tokens settle", [*GIVEN, settle(2.5, 1, stale=True)]),
        ("C26 not before its delay",
         [*GIVEN, settle(2.1, 1, how="retry", delay=0.5), fetch(2.5, given(1, 2)), settle(2.6, 1, 2)]),
        ("C39 paused", [*GIVEN, control(1.5, "pause"), settle(2.1, 1), control(3, "resume")]),
        ("C40 deliver_at", [publish(1, 1, deliver_at=2.5), fetch(2, given(1)), settle(2.1, 1)]),
        ("C40 ttl_ms", [publish(1, 1, ttl=0.5), fetch(2, given(1)), settle(2.1, 1)]),
        ("C16 updated_idx", [*GIVEN, fetch(3.1, Delivery(given(1, 2).token, "1-0", 2, 1, None, 7))]),
    ],
)  # fmt: skip
def test_a_message_by_itself(rule: str, operations: list[Noted]) -> None:
    assert rule in broken(operations)


def test_the_deliver_count_and_max_deliver() -> None:
    released: list[Noted] = [
        publish(1, 1),
        fetch(2, given(1)),
        settle(2.1, 1, how="release"),
        fetch(2.2, given(1, 2, 1)),
        settle(2.3, 1, 2),
    ]
    assert broken(released) == set()
    counted: list[Noted] = [*released[:3], fetch(2.2, given(1, 2, 2)), settle(2.3, 1, 2)]
    assert broken(counted) == {"C22 deliver count"}
    again = [*GIVEN, fetch(3.1, given(1, 2)), settle(3.2, 1, 2)]
    assert broken(again, max_deliver=2) == set()
    assert broken(again, max_deliver=1) == {"C27 max_deliver"}


def test_a_plain_ack_is_final_and_makes_tokens_stale() -> None:
    acked = PlainAck(**noted(2.1), consumer=C, ids=["1-0"], acked=1)
    plain = Delivery("", "1-0", 1, 1, None, 0)
    assert broken([publish(1, 1), fetch(2, plain), acked], plain=True) == set()
    assert broken([*GIVEN, acked, settle(2.2, 1, stale=True)], plain=True) == set()
    assert "C24 acks are final" in broken([publish(1, 1), fetch(2, plain), acked, fetch(4, given(1, 2))], plain=True)


def test_a_reset_makes_tokens_stale_and_begins_again() -> None:
    again = [*DONE, control(3, "reset"), fetch(4, given(1, epoch="f" * 16)), settle(4.1, 1, epoch="f" * 16)]
    assert broken(again, resets=True) == set()
    assert broken(again[:-1], resets=True) == {"C47 accepted is delivered"}
    late = [*GIVEN, control(2.1, "reset"), settle(2.2, 1), *again[-2:]]
    assert broken(late, resets=True) == {"C38 stale after a reset"}


THREE = [publish(n, 1 + n / 100) for n in (1, 2, 3)]
ACKED = [settle(9, n, outcome=UNKNOWN) for n in (1, 2, 3)]


def test_order_of_an_answer_and_of_first_deliveries() -> None:
    def order(*fetches: Fetch, **rules: Any) -> set[str]:
        return broken([*THREE, *fetches, *ACKED], held=(1, 2, 3), **rules) - {"C20 withheld"}

    assert order(fetch(2, given(1)), fetch(3.1, given(1, 2), given(2), given(3))) == set()
    assert order(fetch(2, given(2), given(1), given(3))) == {"C21 order of an answer"}
    assert order(fetch(2, given(1)), fetch(3.1, given(2), given(1, 2), given(3))) == {"C21 order of an answer"}
    again = fetch(2, given(1), given(2)), fetch(3.1, given(2, 2), given(1, 2), given(3))
    assert order(*again) == order(*again, keyed=True) == {"C21 order of an answer"}
    assert order(fetch(2, given(2)), fetch(3, given(1), given(3))) == {"C21 stream order"}
    assert order(fetch(2, given(2)), fetch(2.005, given(1), given(3))) == set()  # at the same time


def test_order_of_a_key() -> None:
    def order(*operations: Noted) -> set[str]:
        return broken([*THREE, *operations, *ACKED], held=(1, 2, 3), keyed=True)

    first, second = fetch(2, given(1, key="k")), fetch(2.5, given(2, key="k"))
    assert order(first, fetch(2.5, given(2, key="l"), given(3))) == set()
    assert order(first, second, fetch(3, given(3))) == {"C42 one of a key"}
    assert order(first, settle(2.1, 1, outcome=UNKNOWN), second, fetch(3, given(3))) == set()
    assert order(first, settle(2.1, 1, how="retry"), second, fetch(3, given(3))) == {"C42 one of a key"}
    assert order(second, settle(2.6, 2), fetch(3, given(1, key="k"), given(3))) == {"C43 order of a key"}


def test_counts_lie_between_what_is_sure_and_what_may_be() -> None:
    def counted(pending: int, out: int, *others: Noted, **rules: Any) -> set[str]:
        op = fetch(2, given(1), num_pending=pending, num_ack_pending=out)
        return broken([*THREE, *others, op, fetch(3, given(2), given(3)), *ACKED], held=(1, 2, 3), **rules)

    assert counted(2, 1) == set()
    assert counted(1, 1) == counted(3, 1) == {"C28 num_pending"}
    assert counted(2, 0) == counted(2, 2) == {"C28 num_ack_pending"}
    lost = fetch(1.5, outcome=UNKNOWN, batch=1)
    assert counted(1, 2, lost) == counted(2, 1, lost) == set()
    assert counted(0, 2, lost) == {"C28 num_pending"}


def test_limits_and_what_is_withheld() -> None:
    both: list[Noted] = [
        *THREE,
        fetch(2, given(1), given(2)),
        fetch(2.1, given(3)),
        *(settle(2.5, n) for n in (1, 2, 3)),
    ]
    assert broken(both, held=(1, 2, 3), max_ack_pending=3) == set()
    assert broken(both, held=(1, 2, 3), max_ack_pending=2) == {"C29 max_ack_pending"}
    few = fetch(1.9, batch=5, num_pending=3, num_ack_pending=0)
    assert broken([few, *both], held=(1, 2, 3)) == {"C20 withheld"}
    expired: list[Noted] = [*GIVEN, fetch(3.2, batch=5, num_pending=0, num_ack_pending=1)]
    assert broken([*expired, fetch(4, given(1, 2)), settle(4.1, 1, 2)]) == {"C20 withheld"}


def test_dead_letters() -> None:
    rejected = [*GIVEN, settle(2.1, 1, how="reject")]
    letter = Letter("1-0", 1, "rejected")
    assert broken(rejected, dead=[letter]) == set()
    assert broken(rejected) == {"C34 rejected is dead", "C47 accepted is delivered"}
    assert broken(rejected, dead=[letter, letter]) == {"C37 dead letters"}
    assert broken(DONE, dead=[letter]) == {"C37 dead letters"}
    redriven = [*rejected, control(3, "redrive"), fetch(4, given(1, 2, 1)), settle(4.1, 1, 2)]
    assert broken(redriven) == set()
    assert broken([*rejected, *redriven[-2:]]) >= {"C24 acks are final"}
    exhausted = [*GIVEN, fetch(3.1, given(1, 2))]
    assert broken(exhausted, dead=[Letter("1-0", 2, "max_deliver")], max_deliver=2) == set()
    assert broken(exhausted, dead=[Letter("1-0", 3, "max_deliver")], max_deliver=2) == {"C27 max_deliver"}


def test_an_event_id_is_stored_once() -> None:
    again = publish(1, 1.5, status="duplicate")
    assert broken([publish(1, 1, UNKNOWN), again, *DONE[1:]]) == set()
    assert broken([again, *DONE[1:]]) == {"C12 dedupe"}
    assert broken([publish(1, 1), publish(1, 1.5), *DONE[1:]]) == {"C12 dedupe"}
    assert broken(DONE, held=(1, 1)) >= {"C12 held once"}
    assert broken(DONE, held=()) == {"C47 accepted is kept"}


def test_a_record_has_a_version_that_the_answers_allow() -> None:
    def version(n: int, at: float, outcome: Outcome = OK, status: str = "updated", time: int = 0) -> Publish:
        return publish(n, at, outcome, status, id="r", updated_at=time or n)

    def seen(n: int) -> list[Noted]:
        return [fetch(5, given(n, key="r")), settle(5.1, n)]

    def end(n: int, *operations: Noted) -> set[str]:
        return broken([version(1, 1, status="created"), *operations, *seen(n)], held=(n,), names={n: "r"})

    assert end(2, version(2, 2)) == set()
    assert end(1, version(2, 2)) == {"C31 newest version"}
    assert end(1, version(2, 2, UNKNOWN)) == end(2, version(2, 2, UNKNOWN)) == set()
    assert end(1, version(2, 2, status="stale", time=-1)) == set()
    assert end(2, version(2, 2, status="updated", time=-1)) == {"C15 status"}
    assert end(3, version(2, 2, UNKNOWN), version(3, 3)) == set()
    assert end(1, version(1, 2, status="unchanged")) == set()


def test_an_answer_that_no_fault_explains() -> None:
    failed = Look(lane="http-0", began=3, ended=3.1, outcome=FAIL, error="500 INTERNAL", consumer=C)
    assert broken([*DONE, failed]) == {"C3 unexpected answer"}
