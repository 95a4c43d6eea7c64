"""Per-key order."""

import asyncio
from typing import Any

import pytest

from broker import Store
from tests.conftest import Clock
from tests.support.api import Api, Json

pytestmark = pytest.mark.anyio
WAIT = 30_000


async def publish(api: Api, *rows: tuple[str | None, Any]) -> list[str]:
    """Events of (key, data); gives their message ids."""
    answer = await api.publish("events", [{"collection_id": "a:b", "key": key, "data": data} for key, data in rows])
    return [row["message_id"] for row in answer["data"]]


async def keyed(api: Api, **fields: Any) -> None:
    """A keyed consumer `c` of events."""
    await api.create_consumer(name="c", **({"stream_id": "events"} | fields), ordering="key")


def data(batch: Json) -> list[Any]:
    """The data of a batch."""
    return [(row.get("event") or row["record"])["data"] for row in batch["data"]]


def tokens(batch: Json) -> list[str]:
    """The tokens of a batch."""
    return [row["ack_token"] for row in batch["data"]]


async def test_c42_one_message_of_a_key_is_out_and_other_keys_flow(api: Api) -> None:
    await keyed(api)
    await publish(api, ("k", 1), ("k", 2), ("l", 3), (None, 4), (None, 5), ("k", 6))
    batch = await api.next("c", 9)
    assert data(batch) == [1, 3, 4, 5]
    assert batch["info"] == {"num_pending": 2, "num_ack_pending": 4}
    assert data(await api.next("c", 9)) == []
    await api.ack("c", tokens(batch)[:1])
    second = await api.next("c", 9)
    assert (data(second), second["data"][0]["deliver_count"]) == ([2], 1)
    await api.ack("c", tokens(second))
    assert data(await api.next("c", 9)) == [6]


async def test_c43_a_nack_or_an_expiry_keeps_the_key_blocked(api: Api, clock: Clock) -> None:
    await keyed(api)
    await publish(api, ("k", 1), ("k", 2))
    await api.nack("c", tokens(await api.next("c", 9)), 60_000)
    assert data(await api.next("c", 9)) == []
    await clock.advance(60_000)
    assert data(await api.next("c", 9)) == [1]
    await clock.advance(WAIT)
    batch = await api.next("c", 9)
    assert data(batch) == [1]
    await api.ack("c", tokens(batch))
    assert data(await api.next("c", 9)) == [2]


async def test_c43_a_dead_letter_frees_its_key(api: Api, clock: Clock) -> None:
    await keyed(api, max_deliver=1)
    await publish(api, ("k", 1), ("k", 2), ("k", 3))
    await api.nack("c", tokens(await api.next("c", 9)))
    assert data(await api.next("c", 9)) == [2]
    await clock.advance(WAIT)
    assert data(await api.next("c", 9)) == [3]
    assert (await api.get_consumer("c"))["info"]["num_dead"] == 2


async def test_c44_a_new_version_waits_for_the_one_that_is_out(api: Api) -> None:
    await keyed(api, stream_id="records")
    await api.publish("records", [{"id": "r", "collection_id": "a:b", "data": 1}])
    old = await api.next("c", 9)
    await api.publish("records", [{"id": "r", "collection_id": "a:b", "data": 2}])
    waiting = await api.next("c", 9)
    assert (data(waiting), waiting["info"]) == ([], {"num_pending": 1, "num_ack_pending": 1})
    await api.publish("records", [{"id": "r", "collection_id": "a:b", "data": 3}])
    assert (await api.next("c", 9))["info"] == {"num_pending": 1, "num_ack_pending": 1}
    assert await api.ack("c", tokens(old)) == {"acked": 1, "stale": []}
    assert data(await api.next("c", 9)) == [3]


async def test_a_superseded_or_trimmed_holder_that_waits_frees_its_key(api: Api) -> None:
    await keyed(api, stream_id="records")
    await api.publish("records", [{"id": "r", "collection_id": "a:b", "data": 1}])
    await api.nack("c", tokens(await api.next("c", 9)), 600_000)
    await api.publish("records", [{"id": "r", "collection_id": "a:b", "data": 2}])
    assert data(await api.next("c", 9)) == [2]
    await api.create_stream(name="s", kind="events", max_messages=2)
    await api.create_consumer(name="d", stream_id="s", ordering="key")
    await api.publish("s", [{"collection_id": "a:b", "key": "k", "data": n} for n in (1, 2)])
    await api.nack("d", tokens(await api.next("d", 9)), 600_000)
    await api.publish("s", [{"collection_id": "a:b", "data": 3}])
    assert data(await api.next("d", 9)) == [2, 3]


async def test_a_key_whose_holder_was_acked_by_a_plain_client_is_free_again(api: Api, store: Store, clock: Clock) -> None:
    await keyed(api)
    [first, _] = await publish(api, ("k", 1), ("k", 2))
    assert data(await api.next("c", 9)) == [1]
    assert await store.call("XACK", "broker:{events}:log", "c", first) == 1
    await clock.advance(1000)
    assert data(await api.next("c", 9)) == [2]


async def test_many_keys_whose_holders_were_acked_by_a_plain_client_are_free_at_once(api: Api, store: Store) -> None:
    await keyed(api)
    firsts = await publish(api, *((f"k{n}", n) for n in range(400)))
    await publish(api, *((f"k{n}", n + 400) for n in range(400)))
    assert len(data(await api.next("c", 1000))) == 400
    assert await store.call("XACK", "broker:{events}:log", "c", *firsts) == 400
    given = [*data(await api.next("c", 1000)), *data(await api.next("c", 1000))]
    assert given == list(range(400, 800))


async def test_a_waiting_call_is_told_when_a_key_is_free(api: Api) -> None:
    await keyed(api)
    await publish(api, ("k", 1), ("k", 2))
    held = tokens(await api.next("c", 9))
    call = asyncio.ensure_future(api.next("c", 9, wait_ms=60_000))
    await api.get_consumer("c")
    await api.ack("c", held)
    assert data(await call) == [2]


async def test_keys_that_hold_colons_and_prefixes_of_each_other_do_not_mix(api: Api) -> None:
    await keyed(api)
    keys = ["a", "a:", "a:b", "1:a", "a:M1795463010302A0", "ä", ""]
    await publish(api, *((key or None, (key, n)) for n in (1, 2) for key in keys))
    first = await api.next("c", 99)
    assert data(first) == [*([key, 1] for key in keys), ["", 2]]
    await api.ack("c", tokens(first))
    assert sorted(data(await api.next("c", 99))) == sorted([key, 2] for key in keys if key)


async def test_names_that_json_escapes_are_found_in_what_is_stored(api: Api) -> None:
    collections, keys = ['a"b:x', "a\\b:x", "a\nb:x", "ä/b:x"], ['k"', "k\\", "k\t", "k/ä"]
    rows = [
        {"collection_id": collection, "resource_id": resource_id, "key": key, "data": [collection, key, n]}
        for n in (1, 2)
        for collection, key in zip(collections, keys, strict=True)
        for resource_id in (None, 'r"\\')
    ]
    await api.publish("events", rows)
    for i, collection in enumerate(collections):
        await api.create_consumer(name=f"late-{i}", stream_id="events", filters={"collection_id": collection}, ordering="key")
        assert data(await api.next(f"late-{i}", 99)) == [[collection, keys[i], 1]]
    await api.create_consumer(name="late", stream_id="events", filters={"resource_id": 'r"\\'})
    assert data(await api.next("late", 99)) == [row["data"] for row in rows if row["resource_id"]]


async def test_peek_of_a_keyed_consumer_shows_what_next_would_give(api: Api) -> None:
    await keyed(api)
    await publish(api, ("k", 1), ("k", 2), ("l", 3))
    assert [row["event"]["data"] for row in await api.peek("c")] == [1, 3]
    await api.next("c", 1)
    assert [row["event"]["data"] for row in await api.peek("c")] == [3]


async def test_c21_messages_of_a_busy_key_do_not_make_a_batch(api: Api) -> None:
    await keyed(api)
    await publish(api, ("k", 0))
    assert data(await api.next("c")) == [0]
    await publish(api, *(("k", n) for n in range(1, 6)), ("z", "z"))
    waiting = asyncio.create_task(api.next("c", 5, min_batch=3, wait_ms=300_000))
    await publish(api, ("y", "y"), ("y", "later"))
    assert not waiting.done()
    await publish(api, (None, "free"))
    assert data(await waiting) == ["z", "y", "free"]
    await publish(api, *(("a", n) for n in range(3)), ("b", "b"))
    assert data(await api.next("c", 5, min_batch=2, wait_ms=300_000)) == [0, "b"]
