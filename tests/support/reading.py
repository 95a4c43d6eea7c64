"""Consumers whose next messages come by the read that follows a script."""

from functools import partial
from typing import Any

from broker import Broker, ConsumerSpec


async def publish(broker: Broker, count: int, stream: str = "events") -> None:
    if count:
        await broker.publish(stream, [{"collection_id": "a:b", "upstream_id": str(n), "data": n} for n in range(count)])


async def begin(broker: Broker, count: int = 10, stream: str = "events", **fields: Any) -> None:
    """A consumer that has just checked for plain clients and begun its sweep, so that a fast read can serve it."""
    await broker.consumers.create(ConsumerSpec(name="c", stream_id=stream, **fields))
    await broker.deliveries._engine.on_consumer("next", "c", 0, 1, 0)
    await publish(broker, count, stream)


async def read(broker: Broker, batch: int = 3, *acks: str) -> list[object]:
    """What `fast_read` answers, with the entries of the XREADGROUP that follows it."""
    groups: list[Any] = [len(acks)]
    for message_id, number, epoch in (token.split(".") for token in acks):
        groups += (epoch, number, f'["{message_id}"]')
    fast_read = broker.deliveries._fast_read
    _, (reply, entries) = await broker.deliveries._engine.on_consumer("fast_read", "c", batch, *groups, by=partial(fast_read._run, "http"))
    return [*reply, entries]


def used(broker: Broker) -> bool:
    """Whether the last fetch came by the read that follows."""
    return broker.deliveries._fast_read._rounds.get("c", 0) == 0
