"""What the tests of costs share: the commands that Redis ran for a call, and consumers that cost something."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from broker import Broker, ConsumerSpec, Store
from tests.support.clock import advance

Costs = dict[str, int]


async def cost(broker: Broker, store: Store, call: Callable[[], Awaitable[object]]) -> Costs:
    """The commands that Redis ran for a call; `evalsha` = round trips."""
    await call()  # scripts are loaded, streams looked up
    await store.call("CONFIG", "RESETSTAT")
    await call()
    return await commands(store)


async def commands(store: Store) -> Costs:
    """The commands that Redis ran since its counters were reset."""
    lines = (await store.call("INFO", "commandstats")).decode().split()
    rows = [line.removeprefix("cmdstat_").split(":calls=") for line in lines if line.startswith("cmdstat_")]
    return {name: int(rest.split(",")[0]) for name, rest in rows if name not in ("info", "config|resetstat")}


async def work_of(store: Store, call: Awaitable[object]) -> int:
    """How many commands Redis ran for a call."""
    await store.call("CONFIG", "RESETSTAT")
    await call
    return sum((await commands(store)).values())


async def once(store: Store, call: Callable[[], Awaitable[object]]) -> Costs:
    """The commands that Redis ran for a call that cannot be made twice, and those of the tests' clock."""
    await store.call("CONFIG", "RESETSTAT")
    await call()
    return await commands(store)


async def publish(broker: Broker, count: int, stream: str = "events") -> None:
    await broker.publish(stream, [{"collection_id": "a:b", "upstream_id": str(n), "data": n} for n in range(count)])


async def until_read(broker: Broker, store: Store) -> None:
    """Take messages until the script `read` is used, and let it be long until plain clients are looked for."""
    await broker.next("c")
    await store.call("HSET", "broker:{events}:consumer:c", "synced_at", 2**43)
    for _ in range(9):
        await broker.next("c")


async def expired(broker: Broker, store: Store, fields: dict[str, Any], count: int, times: int = 1) -> None:
    """So many deliveries of a worker that has died, their ack wait over for the `times`-th time."""
    stream = fields.get("stream_id", "events")
    spec = {"name": "c", "stream_id": stream, "ack_wait_ms": 60_000} | fields
    await broker.consumers.create(msgspec.convert(spec, ConsumerSpec))
    await broker.publish(stream, [{"collection_id": "a:b", "upstream_id": str(n), "data": n} for n in range(count)])
    for number in range(1, times + 1):
        assert [d.deliver_count for d in (await broker.next("c", 1000)).deliveries] == [number] * count
        await advance(store, 60_000)


KINDS: list[dict[str, Any]] = [{}, {"stream_id": "records"}, {"filters": {"provider": "a"}}, {"ordering": "key"}]
