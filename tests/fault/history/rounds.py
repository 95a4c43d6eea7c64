"""A round: streams and consumers of its own, a load for a while, and what is there when all of it is drained."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import httpx

from broker.errors import BrokerError
from tests.fault.history.lanes import number_of
from tests.fault.history.operations import Held, History, Letter, Look, Rest, Rules
from tests.fault.history.recorder import Recorder
from tests.fault.history.workers import LATEST_S, Load, drain
from tests.support.api import Api, Json, Refused

Disturb = Callable[[], Awaitable[None]]
# So far this machine's clock may move against its steady one before a round proves nothing.
CLOCK_S = 0.05


def consumers_of(name: str) -> list[Rules]:
    """The consumers of a round. `mixed` has plain clients too; `fast` has none, so the read that follows is used."""
    mixed, fast, records = f"{name}-mixed", f"{name}-fast", f"{name}-records"
    return [
        Rules(name=f"{name}-shared", stream=mixed, ack_wait=0.6, plain=True),
        Rules(
            name=f"{name}-few",
            stream=mixed,
            ack_wait=0.5,
            max_deliver=3,
            max_ack_pending=5,
            backoff=[0.1, 0.3],
            provider="a",
        ),
        Rules(name=f"{name}-keyed", stream=mixed, ack_wait=0.6, keyed=True),
        Rules(name=f"{name}-all", stream=fast, ack_wait=0.6),
        Rules(name=f"{name}-paused", stream=fast, ack_wait=0.6, backoff=[0.2], pauses=True),
        Rules(name=f"{name}-newest", stream=records, ack_wait=0.6),
        Rules(name=f"{name}-versions", stream=records, ack_wait=0.6, keyed=True),
        Rules(name=f"{name}-reset", stream=records, ack_wait=0.6, provider="a", resets=True),
    ]


def streams_of(rules: list[Rules]) -> dict[str, str]:
    """Their streams, by kind."""
    return {r.stream: "records" if r.stream.endswith("-records") else "events" for r in rules}


async def insist(call: Callable[[], Awaitable[Json]], seconds: float = 60.0) -> Json:
    """Call until it is answered."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except (Refused, BrokerError, httpx.HTTPError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


async def play(
    recorder: Recorder,
    name: str,
    seconds: float,
    *,
    workers: int = 2,
    seed: int = 0,
    disturb: Disturb | None = None,
    patience: float = 60.0,
) -> History:
    """Play a round of so many seconds of load; `disturb` runs beside it and ends when all is well again.

    A consumer that is not drained within `patience` seconds has no counts in the rest. RuntimeError: the clock was set.
    """
    rules = consumers_of(name)
    load = Load(recorder, random.Random(seed), streams_of(rules), rules)
    api = next(iter(recorder.apis.values()))
    for stream, kind in load.streams.items():
        await insist(partial(api.create_stream, name=stream, kind=kind))
    for r in rules:
        await insist(partial(api.create_consumer, **_fields(r)))
    offset = time.time() - time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for client in load.clients(workers):
            clients.create_task(client)
        await asyncio.gather(asyncio.sleep(seconds), disturb() if disturb else asyncio.sleep(0))
        load.over.set()
    for r in rules:
        if r.pauses:
            await load.resume(r)
    await asyncio.sleep(LATEST_S)  # until the last delayed event is due
    done = await asyncio.gather(*(drain(load, r, patience) for r in rules))
    drained = [r for r, is_empty in zip(rules, done, strict=True) if is_empty]
    rest = await _rest(recorder, api, load, drained)
    for stream in load.streams:
        await insist(partial(_deleted, api, stream))
    if abs(time.time() - time.monotonic() - offset) > CLOCK_S:
        raise RuntimeError("this machine's clock was set in the meantime")
    return History(consumers=rules, operations=recorder.operations, rest=rest)


def _fields(rules: Rules) -> Json:
    fields: Json = {"name": rules.name, "stream_id": rules.stream, "ack_wait_ms": round(rules.ack_wait * 1000)}
    fields |= {"max_deliver": rules.max_deliver, "max_ack_pending": rules.max_ack_pending}
    fields |= {"backoff_ms": [round(s * 1000) for s in rules.backoff], "ordering": "key" if rules.keyed else "none"}
    return fields | ({"filters": {"provider": rules.provider}} if rules.provider else {})


async def _deleted(api: Api, stream: str) -> Json:
    with suppress(Refused):
        await api.delete_stream(stream, force=True)
    return {}


async def _rest(recorder: Recorder, api: Api, load: Load, drained: list[Rules]) -> Rest:
    held, records = {}, {}
    for stream, kind in load.streams.items():
        held[stream] = [_held(row) for row in await _pages(partial(api.messages, stream))]
        for h in held[stream] if kind == "records" else ():
            records[h.id] = _n_of(await insist(partial(api.record, stream, h.id)))
    letters, counts = {}, dict[str, Look]()
    for rules in load.consumers:
        dead = await _pages(partial(api.dead_letters, rules.name))
        letters[rules.name] = [Letter(row["id"], row["deliver_count"], row["reason"]) for row in dead]
        if rules in drained:
            counts[rules.name] = await _counts(recorder, load, rules)
    return Rest(held=held, letters=letters, counts=counts, records=records)


async def _counts(recorder: Recorder, load: Load, rules: Rules) -> Look:
    while not (look := await recorder.look(load.lane(), rules)).ok:
        await load.pause(0.05)
    return look


async def _pages(page: Callable[..., Awaitable[Json]]) -> list[Json]:
    found: list[Json] = []
    after: str | None = None
    while True:
        answer = await insist(partial(page, after=after, limit=500))
        found += answer["data"]
        after = answer["next"]
        if after is None:
            return found


def _held(row: Json) -> Held:
    body = row.get("event") or row["record"]
    return Held(row["id"], body["id"], _n_of(row), body["updated_idx"])


def _n_of(row: Json) -> int:
    return number_of((row.get("event") or row.get("record") or row)["data"])
