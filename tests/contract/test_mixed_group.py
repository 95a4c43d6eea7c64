"""Workers on plain Redis commands, on functions and on HTTP share one consumer."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from broker import Broker, ConsumerSpec, Store
from broker.commands.functions import function_name
from broker.store.embedded import Embedded
from tests.contract.helpers import counts, event, info, plain_ack, plain_read
from tests.support.api import HttpApi
from tests.support.library_api import LibraryApi

pytestmark = pytest.mark.anyio
MESSAGES = 600
NACK_EVERY = 7


class Ledger:
    """Who has which message out, and which are done."""

    def __init__(self) -> None:
        self.out: dict[str, str] = {}
        self.done: Counter[str] = Counter()
        self.by: Counter[str] = Counter()
        self.nacked: set[str] = set()

    def taken(self, message: str, worker: str) -> None:
        assert message not in self.out, f"{message} is out to {self.out[message]} and to {worker}"
        self.out[message] = worker
        self.by[worker] += 1

    def settling(self, message: str, acked: bool) -> None:
        del self.out[message]
        if acked:
            self.done[message] += 1
        else:
            self.nacked.add(message)

    def wants_nack(self, message: str) -> bool:
        """Now and then, and each message once at most."""
        return message not in self.nacked and (sum(self.by.values()) % NACK_EVERY == 0)

    @property
    def over(self) -> bool:
        return len(self.done) == MESSAGES


async def plain_worker(ledger: Ledger, url: str, name: str) -> None:
    """XREADGROUP and XACK. It sees new messages alone: what was nacked goes to the others."""
    store = Store.from_url(url)
    try:
        while not ledger.over:
            ids = await plain_read(store, "c", 5)
            for message in ids:
                ledger.taken(message, name)
            for message in ids:
                ledger.settling(message, True)
            assert await plain_ack(store, "c", *ids) == len(ids) if ids else True
            await asyncio.sleep(0.002)
    finally:
        await store.close()


async def function_worker(ledger: Ledger, url: str, name: str) -> None:
    """The functions as a client in another language calls them: acks go with the next fetch."""
    store, key = Store.from_url(url), "broker:{events}"
    settle: list[Any] = [0]
    sent = 0
    next_, nack = function_name("next"), function_name("nack")
    try:
        while not ledger.over:
            reply: list[Any] = await store.call("FCALL", next_, 1, key, "c", 5, 1, *settle)
            if reply[0] == 1:
                continue
            assert reply[8][0] == sent and reply[8][2:] == [], "every token was good"
            epoch, rows, acks = reply[1], [reply[at : at + 5] for at in range(9, len(reply), 5)], dict[int, list[bytes]]()
            for message, number, *_ in rows:
                ledger.taken(message.decode(), name)
                if ledger.wants_nack(message.decode()):
                    ledger.settling(message.decode(), False)
                    assert await store.call("FCALL", nack, 1, key, "c", epoch, message, number, 0, "retry", "later") == [1]
                elif not acks or number in acks:
                    acks.setdefault(number, []).append(message)
                else:  # one group a fetch is enough for this worker: the others are acked at once
                    ledger.settling(message.decode(), True)
                    assert await store.call("FCALL", function_name("ack"), 1, key, "c", 1, epoch, number, f'["{message.decode()}"]') == [1]
            settle, sent = [0], 0
            for number, messages in acks.items():
                settle = [1, epoch, number, json.dumps([message.decode() for message in messages])]
                sent = len(messages)
                for message in messages:
                    ledger.settling(message.decode(), True)
            await asyncio.sleep(0.002)
        if settle[0]:
            assert (await store.call("FCALL", function_name("ack"), 1, key, "c", *settle)) == [sent]
    finally:
        await store.close()


async def http_worker(ledger: Ledger, client: httpx.AsyncClient, name: str) -> None:
    """The HTTP API."""
    api = HttpApi(client)
    while not ledger.over:
        for row in (await api.next("c", 5, wait_ms=20))["data"]:
            ledger.taken(row["id"], name)
            if ledger.wants_nack(row["id"]):
                ledger.settling(row["id"], False)
                assert await api.nack("c", [row["ack_token"]], 0) == {"nacked": 1, "stale": []}
            else:
                ledger.settling(row["id"], True)
                assert await api.ack("c", [row["ack_token"]]) == {"acked": 1, "stale": []}


async def test_every_message_goes_to_one_worker_at_a_time_and_none_is_lost(
    redis_server: Embedded, broker: Broker, http: httpx.AsyncClient
) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    ledger, url = Ledger(), redis_server.url
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(plain_worker(ledger, url, f"plain {number}"))
            group.create_task(function_worker(ledger, url, f"function {number}"))
            group.create_task(http_worker(ledger, http, f"http {number}"))
        for _ in range(MESSAGES // 50):
            await broker.publish("events", [event(n) for n in range(50)])
            await asyncio.sleep(0.01)
    assert set(ledger.done.values()) == {1} and ledger.out == {}
    assert len(ledger.by) == 6, "everyone had a share"
    assert len(ledger.nacked) > 10
    assert (await broker.next("c")).deliveries == []
    await soon(lambda: counts(LibraryApi(broker), "c"), (0, 0, 0, 0), 1.0)


async def soon(told: Callable[[], Awaitable[object]], expected: object, within_s: float) -> None:
    """The counts become as expected within a time, plus a tenth of a second for the call."""
    deadline = time.monotonic() + within_s + 0.1
    while (found := await told()) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        await asyncio.sleep(0.02)


async def test_counts_are_right_within_a_second_of_what_plain_clients_did(
    broker: Broker, function_broker: Broker, store: Store, http: httpx.AsyncClient
) -> None:
    await broker.consumers.create(ConsumerSpec(name="c", stream_id="events"))
    await broker.publish("events", [event(n) for n in range(20)])
    (first,) = (await function_broker.next("c")).deliveries
    over_http = (await HttpApi(http).next("c"))["data"][0]
    ids = await plain_read(store, "c", 7)
    assert await plain_ack(store, "c", *ids[:3]) == 3
    apis = (HttpApi(http), LibraryApi(broker), LibraryApi(function_broker))
    await soon(lambda: counts(apis[2], "c"), (11, 6, 0, 0), 1.0)
    assert [await counts(api, "c") for api in apis] == [(11, 6, 0, 0)] * 3
    assert await plain_ack(store, "c", first.id, over_http["id"], *ids[3:]) == 6
    await soon(lambda: counts(apis[0], "c"), (11, 0, 0, 0), 1.0)
    assert (await function_broker.ack("c", [first.ack_token])).stale == [first.ack_token]
    assert (await apis[0].next("c", 11))["info"] == info(0, 11)
