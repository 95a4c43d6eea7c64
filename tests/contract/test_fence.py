"""A token settles the one delivery that it was made for, also after clock steps and restarts (C24)."""

from collections.abc import Awaitable, Callable

import pytest

from broker import Store
from broker.commands.running import run
from broker.commands.scripts import Scripts, prelude
from tests.conftest import Clock
from tests.contract.delivering import STREAMS, WAIT, consumer, publish
from tests.contract.helpers import counted, counts, data, plain_ack, plain_read, publish_each, take, tokens
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio
HOUR = 3_600_000

# Every way to give tokens: what it answers where all are stale.
WAYS: dict[str, Callable[[Api, list[str]], Awaitable[Json]]] = {
    "acked": lambda api, given: api.ack("c", given),
    "nacked": lambda api, given: api.nack("c", given),
    "extended": lambda api, given: api.extend("c", given),
}
OUTCOMES = ["retry", "release", "reject"]
KINDS: list[Json] = [
    {}, {"stream_id": "records"}, {"filters": {"provider": "crm"}}, {"ordering": "key"}, {"stream_id": "records", "ordering": "key"},
    {"max_deliver": 1},
]  # fmt: skip


def nacks(given: list[str], outcome: str = "retry") -> list[Json]:
    return [{"ack_token": token, "outcome": outcome, "delay_ms": 0} for token in given]


async def change_nothing(api: Api, given: list[str]) -> None:
    """These tokens are stale for `c`, however they are given, and leave all that it has as it is."""
    before = await counts(api, "c"), await api.pending("c"), await api.dead_letters("c")
    for word, way in WAYS.items():
        assert await way(api, given) == {word: 0, "stale": given}
    for outcome in OUTCOMES:
        assert await api.nack_each("c", nacks(given, outcome)) == {"nacked": 0, "stale": given}
    after = await counts(api, "c"), await api.pending("c"), await api.dead_letters("c")
    assert after[0] == before[0]
    assert [row["id"] for row in after[1]["data"]] == [row["id"] for row in before[1]["data"]]
    assert after[2] == before[2]


@pytest.mark.parametrize("fields", KINDS)
async def test_c24_tokens_of_another_consumer_of_the_stream_change_nothing(api: Api, fields: Json) -> None:
    stream = fields.get("stream_id", "events")
    await consumer(api, **fields)
    await consumer(api, **fields, name="d")
    await publish(api, stream, *range(30))
    await api.next("c")
    (one,) = tokens(await api.next("d"))
    await api.next("c", 25)
    many = tokens(await api.next("d", 20))
    await change_nothing(api, [one])
    await change_nothing(api, many)
    await change_nothing(api, [one, *many])
    assert await counts(api, "c") == (4, 26, 0, 0)
    assert await api.ack("d", [one, *many]) == {"acked": 21, "stale": []}


@pytest.mark.parametrize("fields", [{}, {"stream_id": "records"}, {"ordering": "key"}])
async def test_c24_tokens_of_another_consumer_settle_nothing_where_they_come_with_a_fetch(api: Api, fields: Json) -> None:
    await consumer(api, **fields)
    await consumer(api, **fields, name="d")
    await publish(api, fields.get("stream_id", "events"), *range(10))
    await api.next("c", 4)
    foreign = tokens(await api.next("d", 4))
    answer = await api.settle_and_fetch("c", 1, foreign, [])
    assert (data(answer), answer["settled"]) == ([4], {"acked": 0, "nacked": 0, "stale": foreign})
    for outcome in OUTCOMES:
        answer = await api.settle_and_fetch("c", 1, [], nacks(foreign, outcome))
        assert answer["settled"] == {"acked": 0, "nacked": 0, "stale": foreign}
    assert await counts(api, "c") == (2, 8, 0, 0)
    assert await counts(api, "d") == (6, 4, 0, 0)


async def test_c24_one_foreign_token_in_a_batch_is_stale_and_the_rest_is_settled(api: Api) -> None:
    await consumer(api)
    await consumer(api, name="d")
    await publish_each(api, list(range(20)))
    own, foreign = tokens(await api.next("c", 20)), tokens(await api.next("d", 20))
    mixed = [*own[:10], foreign[10], *own[11:]]
    assert await api.ack("c", mixed) == {"acked": 19, "stale": [foreign[10]]}
    assert [row["id"] for row in (await api.pending("c"))["data"]] == [own[10].partition(".")[0]]


async def test_c24_tokens_of_consumers_of_other_streams_with_the_same_ids_change_nothing(api: Api, store: Store) -> None:
    await api.create_stream(name="s", kind="events")
    await consumer(api)
    await consumer(api, name="d", stream_id="s")
    for log in ("events", "s"):
        await store.call("XADD", f"broker:{{{log}}}:log", "1700000000000-0", "collection_id", "crm:x", "data", "1")
    (own,), (foreign,) = tokens(await api.next("c")), tokens(await api.next("d"))
    assert own.partition(".")[0] == foreign.partition(".")[0]
    await change_nothing(api, [foreign])
    assert await api.ack("c", [own]) == {"acked": 1, "stale": []}


@pytest.mark.parametrize("fields", KINDS[:4])
async def test_c24_an_id_that_is_not_out_is_stale_under_what_proves_another_delivery(api: Api, fields: Json) -> None:
    stream = fields.get("stream_id", "events")
    await consumer(api, **fields, max_deliver=9)
    await publish(api, stream, *range(10))
    ids = [row["id"] for row in (await api.messages(stream))["data"]]
    acked, nacked, rejected, out = tokens(await api.next("c", 4))
    await api.ack("c", [acked])
    await api.nack("c", [nacked], delay_ms=60_000)
    await api.nack_each("c", nacks([rejected], "reject"))
    proof = out.partition(".")[2]
    not_out = [f"{message}.{proof}" for message in (*ids[:3], *ids[4:], "1-1", "9999999999999-0")]
    await change_nothing(api, not_out)
    for token in not_out:
        assert await api.ack("c", [token]) == {"acked": 0, "stale": [token]}
    assert await api.ack("c", [*not_out, out]) == {"acked": 1, "stale": not_out}


async def test_c24_a_token_of_another_delivery_number_is_stale(api: Api, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1])
    (first,) = tokens(await api.next("c"))
    await change_nothing(api, [first.replace(".1.", ".2.")])
    await clock.advance(WAIT)
    (second,) = tokens(await api.next("c"))
    assert second == first.replace(".1.", ".2.")
    await change_nothing(api, [first, first.replace(".1.", ".3.")])
    assert await api.ack("c", [second]) == {"acked": 1, "stale": []}


@pytest.mark.parametrize("step", [0, -20_000, -HOUR, HOUR])
@pytest.mark.parametrize("stream", STREAMS)
async def test_c24_tokens_of_an_earlier_life_are_stale_wherever_the_clock_went(api: Api, clock: Clock, stream: str, step: int) -> None:
    await consumer(api, stream_id=stream)
    await publish(api, stream, *range(20))
    old = [*tokens(await api.next("c")), *tokens(await api.next("c", 19))]
    await api.delete_consumer("c")
    await clock.advance(step)
    await consumer(api, stream_id=stream)
    new = tokens(await api.next("c", 20))
    await change_nothing(api, old)
    assert await api.ack("c", new) == {"acked": 20, "stale": []}


@pytest.mark.parametrize("step", [0, -20_000, -HOUR])
async def test_c24_tokens_from_before_a_reset_are_stale_wherever_the_clock_went(api: Api, clock: Clock, step: int) -> None:
    await consumer(api)
    await publish_each(api, list(range(20)))
    old = tokens(await api.next("c", 20))
    await clock.advance(step)
    await api.reset_consumer("c", "all")
    new = tokens(await api.next("c", 20))
    await change_nothing(api, old)
    assert await api.ack("c", new) == {"acked": 20, "stale": []}


async def test_c24_tokens_of_a_consumer_made_again_on_another_stream_are_stale(api: Api) -> None:
    await api.create_stream(name="s", kind="events")
    await consumer(api)
    await publish_each(api, [1, 2])
    old = tokens(await api.next("c", 2))
    await api.delete_consumer("c")
    await consumer(api, stream_id="s")
    await publish_each(api, [3, 4], "s")
    new = tokens(await api.next("c", 2))
    await change_nothing(api, old)
    assert await api.ack("c", [*old, *new]) == {"acked": 2, "stale": old}


@pytest.mark.parametrize("step", [-20_000, -HOUR])
async def test_c24_a_delivery_that_was_given_again_after_a_step_back_has_one_live_token(api: Api, clock: Clock, step: int) -> None:
    await consumer(api)
    await publish_each(api, list(range(20)))
    old = tokens(await api.next("c", 20))
    await clock.advance(step)
    assert data(await api.next("c", 20)) == []
    await clock.advance(WAIT + 100)
    new = tokens(await api.next("c", 20))
    assert len(new) == 20
    await change_nothing(api, old)
    assert await api.ack("c", new) == {"acked": 20, "stale": []}


@pytest.mark.parametrize("step", [-20_000, -HOUR])
async def test_c24_tokens_given_before_a_step_back_stay_good(api: Api, clock: Clock, step: int) -> None:
    await consumer(api)
    await publish_each(api, list(range(20)))
    given = tokens(await api.next("c", 20))
    await clock.advance(step)
    assert await api.extend("c", given[:5]) == {"extended": 5, "stale": []}
    assert await api.nack("c", given[5:10]) == {"nacked": 5, "stale": []}
    assert await api.ack("c", given) == {"acked": 15, "stale": given[5:10]}


async def test_c24_released_rejected_and_redriven_deliveries_leave_no_good_token(api: Api) -> None:
    await consumer(api)
    await publish_each(api, [1])
    seen: list[str] = []
    for outcome in (*OUTCOMES, *OUTCOMES):
        (token,) = tokens(await api.next("c"))
        if seen:
            await change_nothing(api, seen)
        assert token not in seen
        seen.append(token)
        assert await api.nack_each("c", nacks([token], outcome)) == {"nacked": 1, "stale": []}
        await change_nothing(api, seen)
        if outcome == "reject":
            assert await api.redrive("c") == {"redriven": 1, "gone": 0}
            await change_nothing(api, seen)
    (token,) = tokens(await api.next("c"))
    assert await api.ack("c", [*seen, token]) == {"acked": 1, "stale": seen}


async def test_c24_a_token_is_stale_once_a_plain_client_has_acked_its_message(api: Api, store: Store) -> None:
    await consumer(api)
    ids = await publish_each(api, [1, 2])
    given = tokens(await api.next("c", 2))
    assert await plain_ack(store, "c", ids[0]) == 1
    await change_nothing(api, given[:1])
    assert await api.ack("c", given) == {"acked": 1, "stale": given[:1]}


async def test_c24_a_delivery_to_a_plain_client_has_a_token_of_its_own_once_it_is_given_again(api: Api, store: Store, clock: Clock) -> None:
    await consumer(api)
    await publish_each(api, [1, 2])
    assert len(await plain_read(store, "c", 2)) == 2
    await clock.advance(WAIT)
    batch = await api.next("c", 2)
    assert counted(batch) == [(1, 2), (2, 2)]
    await change_nothing(api, [token.replace(".2.", ".1.") for token in tokens(batch)])
    assert await api.ack("c", tokens(batch)) == {"acked": 2, "stale": []}


async def test_c24_what_acks_everything_is_not_disturbed_by_the_tokens_of_its_neighbour(api: Api) -> None:
    await consumer(api)
    await consumer(api, name="d")
    await publish_each(api, list(range(20)))
    foreign = tokens(await api.next("d", 20))
    await api.ack("c", foreign)
    assert await take(api, "c") == list(range(20))
    assert await api.ack("d", foreign) == {"acked": 20, "stale": []}


FROZEN = """
local real = redis
local redis = setmetatable({ call = function(command, ...)
  if command == 'TIME' then return { '1800000000', '123456' } end
  return real.call(command, ...)
end }, { __index = real })
"""


async def test_c24_consumers_made_in_one_microsecond_without_an_epoch_of_the_caller_have_their_own(store: Store) -> None:
    """The scripts see a clock that stands still, as two servers see the same microsecond."""
    scripts, epochs = Scripts(FROZEN + prelude()), list[bytes]()
    fields = [
        "ack_wait_ms", 1000, "max_deliver", -1, "max_ack_pending", 9, "max_waiting", 9, "deliver_policy", "all", "ordering", "none",
        "backoff_ms", "", "metadata", "{}", "filters", "{}",
    ]  # fmt: skip
    for stream in ("s", "t"):
        key = f"broker:{{{stream}}}"
        await run(store, scripts["stream_create"], key, ["kind", "events", "dedupe_window_ms", 0, "metadata", "{}"])
        for name in ("c", "d", "dc", "cd"):
            for command, args in (("consumer_create", ["all", "", "", *fields]), ("consumer_reset", ["all", "all"])):
                await run(store, scripts[command], key, [name, *args])
                epochs.append(await store.call("HGET", f"{key}:consumer:{name}", "epoch"))
    assert len(set(epochs)) == len(epochs) == 16
    assert all(len(epoch) == 16 for epoch in epochs)
