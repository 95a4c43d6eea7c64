"""Why a consumer gives nothing, and what waits in it: C56, C57."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from broker import Store
from tests.conftest import Clock
from tests.contract.asking import consumer, get, info, post, publish, settle, take
from tests.contract.helpers import TIME, event, record

pytestmark = pytest.mark.anyio

FILTERS: list[Any] = [{}, {"provider": "crm"}]
NAMES = ("num_pending", "num_retrying", "num_blocked", "num_ack_pending")


async def state(http: httpx.AsyncClient) -> tuple[int, int, int, int, str | None]:
    """num_pending, num_retrying, num_blocked, num_ack_pending, idle_because."""
    found = await info(http)
    pending, retrying, blocked, out = (found[name] for name in NAMES)
    given = (await get(http, "/http-consumers/c/peek"))["data"]
    if found["idle_because"] not in ("max_ack_pending", "paused"):
        assert (found["idle_because"] is None) == bool(given), "it says what next does"
    return pending, retrying, blocked, out, found["idle_because"]


@pytest.mark.parametrize("filters", FILTERS)
async def test_c56_why_nothing_comes(http: httpx.AsyncClient, clock: Clock, filters: Any) -> None:
    await consumer(http, filters=filters, max_ack_pending=2, ack_wait_ms=10_000)
    assert await state(http) == (0, 0, 0, 0, "empty")
    await publish(http, event(1), event(2), event(3))
    assert await state(http) == (3, 0, 0, 0, None)
    tokens = await take(http, 3)
    assert await state(http) == (1, 0, 0, 2, "max_ack_pending")
    await settle(http, "nack", tokens[:1], delay_ms=5000)
    assert await state(http) == (2, 1, 0, 1, None)
    await settle(http, "ack", await take(http))
    assert await state(http) == (1, 1, 0, 1, "retries")
    await clock.advance(5001)
    assert await state(http) == (1, 1, 0, 1, None)
    await post(http, "/http-consumers/c/pause", {})
    assert await state(http) == (1, 1, 0, 1, "paused")
    await post(http, "/http-consumers/c/resume", {})
    await settle(http, "ack", [*(await take(http)), tokens[1]])
    assert await state(http) == (0, 0, 0, 0, "empty")


@pytest.mark.parametrize("filters", FILTERS)
async def test_c56_an_expired_delivery_comes_though_nothing_is_pending(http: httpx.AsyncClient, clock: Clock, filters: Any) -> None:
    await consumer(http, filters=filters, max_ack_pending=1, ack_wait_ms=1000)
    await publish(http, event(1), event(2))
    await take(http)
    assert (await info(http))["idle_because"] == "max_ack_pending"
    await clock.advance(1001)
    assert (await info(http))["idle_because"] is None


@pytest.mark.parametrize("filters", FILTERS)
async def test_c56_a_start_that_is_still_to_come(http: httpx.AsyncClient, clock: Clock, filters: Any) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await consumer(http, deliver_policy=later, filters=filters)
    await publish(http, event(1))
    assert await state(http) == (0, 0, 0, 0, "start")


@pytest.mark.parametrize("filters", FILTERS)
async def test_c56_messages_that_wait_for_their_key(http: httpx.AsyncClient, clock: Clock, filters: Any) -> None:
    await consumer(http, ordering="key", filters=filters, ack_wait_ms=10_000)
    await publish(http, *(event(i, key="a") for i in range(3)), event(3, key="b"), event(4))
    assert await state(http) == (5, 0, 0, 0, None)
    [first] = await take(http)
    assert await state(http) == (4, 0, 2, 1, None), "two that it has not come by yet"
    await take(http, 10)
    assert await state(http) == (2, 0, 2, 3, "keys")
    await settle(http, "nack", [first], delay_ms=5000)
    assert await state(http) == (3, 1, 2, 2, "keys")
    await clock.advance(5001)
    assert await state(http) == (3, 1, 2, 2, None)
    await settle(http, "ack", await take(http))
    assert await state(http) == (2, 0, 1, 2, None), "the next of the key was never delivered: it is no retry"


async def test_c56_blocked_messages_are_counted_over_many_steps(http: httpx.AsyncClient) -> None:
    await consumer(http, ordering="key")
    await publish(http, event(0, key="a"))
    await take(http)
    for part in range(3):
        await publish(http, *(event(i, key="a" if i % 2 else f"k{part}-{i}") for i in range(1000)))
    assert (await info(http))["num_blocked"] == 1500


async def test_c56_records_wait_for_their_old_version(http: httpx.AsyncClient) -> None:
    await consumer(http, stream_id="records", ordering="key")
    await publish(http, record("a", 1), stream="records")
    await take(http)
    await publish(http, record("a", 2), record("b", 1), stream="records")
    assert await state(http) == (2, 0, 1, 1, None)


def seconds_ago(text: str) -> float:
    assert TIME.fullmatch(text)
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


@pytest.mark.parametrize("filters", FILTERS)
async def test_c56_what_is_oldest(http: httpx.AsyncClient, store: Store, clock: Clock, filters: Any) -> None:
    await consumer(http, filters=filters, ack_wait_ms=3_600_000)
    found = await info(http)
    assert (found["oldest_pending_at"], found["oldest_ack_pending_at"]) == (None, None)
    ids = await publish(http, event(1))
    ids += await publish(http, event(2))
    at = [datetime.fromtimestamp(int(i.partition("-")[0]) / 1000, UTC) for i in ids]
    assert datetime.fromisoformat((await info(http))["oldest_pending_at"]) == at[0]
    [first] = await take(http)
    pending = (await get(http, "/http-consumers/c/pending"))["data"]
    found = await info(http)
    assert datetime.fromisoformat(found["oldest_pending_at"]) == at[1]
    assert abs(seconds_ago(found["oldest_ack_pending_at"]) - seconds_ago(pending[0]["delivered_at"])) < 0.1
    await clock.advance(60_000)
    await take(http)
    await settle(http, "extend", [first])
    found = await info(http)
    assert found["oldest_pending_at"] is None
    assert abs(seconds_ago(found["oldest_ack_pending_at"]) - seconds_ago(pending[0]["delivered_at"])) < 0.1
    await settle(http, "nack", [first], delay_ms=100_000)
    assert datetime.fromisoformat((await info(http))["oldest_pending_at"]) == at[0], "a retry is as old as its message"


async def test_c56_the_oldest_of_thousands_of_retries(http: httpx.AsyncClient) -> None:
    await consumer(http, max_ack_pending=10_000)
    ids: list[str] = []
    for _ in range(3):
        ids += await publish(http, *(event(i) for i in range(1000)))
    tokens = [token for _ in range(3) for token in await take(http, 1000)]
    for n in range(2, -1, -1):  # the first ones are due last
        await settle(http, "nack", tokens[1000 * n : 1000 * (n + 1)], delay_ms=100_000 + 1000 * (3 - n))
    found = await info(http)
    assert (found["num_retrying"], found["idle_because"]) == (3000, "retries")
    assert datetime.fromisoformat(found["oldest_pending_at"]).timestamp() * 1000 == int(ids[0].partition("-")[0])


async def test_c56_a_list_may_have_the_counts(http: httpx.AsyncClient) -> None:
    await consumer(http)
    await consumer(http, name="d", ordering="key")
    await publish(http, event(1, key="a"), event(2, key="a"))
    await get(http, "/http-consumers/d/next")
    rows = (await get(http, "/http-consumers", info="true"))["data"]
    shown, alone = {row["name"]: row["info"] for row in rows}, {name: await info(http, name) for name in "cd"}
    for found in (*shown.values(), *alone.values()):
        found["oldest_ack_pending_at"] = bool(found["oldest_ack_pending_at"])  # two looks may differ by a ms
    assert shown == alone
    assert "info" not in (await get(http, "/http-consumers"))["data"][0]


# C57


@pytest.mark.parametrize("fields", [{}, {"filters": {"provider": "crm"}}, {"ordering": "key"}])
async def test_c57_retrying_lists_what_waits_to_be_delivered_again(http: httpx.AsyncClient, clock: Clock, fields: Any) -> None:
    await consumer(http, ack_wait_ms=10_000, **fields)
    await consumer(http, name="other")
    ids = await publish(http, *(event(i, key=f"k{i}") for i in range(5)))
    tokens = await take(http, 5)
    await get(http, "/http-consumers/other/next")
    assert (await get(http, "/http-consumers/c/retrying")) == {"data": [], "next": None}
    nacks: list[dict[str, Any]] = [
        {"ack_token": tokens[3], "delay_ms": 60_000, "reason": "busy"}, {"ack_token": tokens[0]},
        {"ack_token": tokens[4], "outcome": "release"},
    ]  # fmt: skip
    await post(http, "/http-consumers/c/nack", {"nacks": nacks})
    first = await get(http, "/http-consumers/c/retrying", limit=2)
    rest = await get(http, "/http-consumers/c/retrying", limit=2, after=first["next"])
    rows = first["data"] + rest["data"]
    assert rest["next"] is None
    assert (await info(http))["num_retrying"] == len(rows)
    assert [(row["id"], row["deliver_count"], row["reason"], row["key"], row["blocked"]) for row in rows] == [
        (ids[0], 1, None, "k0", False), (ids[3], 1, "busy", "k3", False), (ids[4], 0, None, "k4", False),
    ]  # fmt: skip
    due = [datetime.fromisoformat(row["due_at"]).timestamp() for row in rows]
    assert 59 < due[1] - due[0] <= 60
    assert abs(due[2] - due[0]) < 1


async def test_c57_a_redriven_message_may_wait_for_its_key(http: httpx.AsyncClient) -> None:
    await consumer(http, ordering="key", max_deliver=1)
    ids = await publish(http, event(0, key="a"), event(1, key="a"), event(2, key="a"))
    await settle(http, "nack", await take(http))
    [holder] = await take(http)
    await post(http, "/http-consumers/c/dead-letters/redrive", {})
    rows = (await get(http, "/http-consumers/c/retrying"))["data"]
    assert [(row["id"], row["deliver_count"], row["blocked"]) for row in rows] == [(ids[0], 0, True)]
    assert (await state(http))[:3] == (2, 1, 2)
    await settle(http, "ack", [holder])
    assert [row["blocked"] for row in (await get(http, "/http-consumers/c/retrying"))["data"]] == [False]
    assert (await state(http))[:3] == (2, 1, 1)
