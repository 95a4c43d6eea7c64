"""/metrics (C63): its gauges are what `info` tells, taken at the scrape and not more often than once in five seconds.

HTTP only.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from broker import Broker, ConsumerSpec, Store, StreamSpec
from broker.access.tokens import AccessTokens, OpenMode
from http_api.app import create_app
from http_api.monitoring.scraping import CONSUMERS, KEPT_S, Scraper
from http_api.settings import Settings
from tests.contract.helpers import event, plain_add, record, refused
from tests.support.exposition import rows

pytestmark = pytest.mark.anyio

C = "/v1/http-consumers/c"
SETTLED = ("broker_settled_total", "consumer=c")
GAUGES = {"pending": "num_pending", "ack_pending": "num_ack_pending", "retrying": "num_retrying", "dead": "num_dead"}


async def scraped(http: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    reply = await http.get("/metrics")
    assert reply.status_code == 200
    return rows(reply.text)


@asynccontextmanager
async def a_server(broker: Broker, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Another server, which has not been scraped yet."""
    tokens = AccessTokens(broker.store, open_mode=OpenMode())
    await tokens.start()
    app = create_app(broker, tokens, Settings(**settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client
    await tokens.close()


async def commands(store: Store, *names: str) -> int:
    """How often Redis ran such commands, everywhere."""
    count = 0
    for key in await store.primaries():
        for line in (await store.call("INFO", "commandstats", at=key)).decode().split():
            name, _, rest = line.removeprefix("cmdstat_").partition(":calls=")
            count += int(rest.split(",")[0]) if name in names else 0
    return count


async def test_c63_gauges_are_what_info_tells(http: httpx.AsyncClient, store: Store) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events", "max_deliver": 5})
    await http.post("/v1/http-consumers", json={"name": "r"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(n) for n in range(8)]})
    await http.post("/v1/streams/records/messages", json={"messages": [record("a", 1), record("b", 2)]})
    await plain_add(store, "data", "1")
    tokens = [row["ack_token"] for row in (await http.get(f"{C}/next", params={"batch_size": 6})).json()["data"]]
    await http.post(f"{C}/ack", json={"ack_tokens": tokens[:1]})
    await http.post(f"{C}/nack", json={"ack_tokens": tokens[1:3], "delay_ms": 60_000})
    await http.post(f"{C}/nack", json={"nacks": [{"ack_token": tokens[3], "outcome": "reject"}]})

    found = await scraped(http)

    for name, stream in (("c", "events"), ("r", "records")):
        info = (await http.get(f"/v1/http-consumers/{name}")).json()["info"]
        for gauge, field in GAUGES.items():
            assert found[(f"broker_consumer_{gauge}", f"consumer={name}", f"stream={stream}")] == info[field]
        assert 0 < found[("broker_consumer_oldest_pending_seconds", f"consumer={name}", f"stream={stream}")] < 60
    assert [found[("broker_stream_messages", f"stream={stream}")] for stream in ("events", "records")] == [9, 2]
    assert [found[("broker_stream_published_total", f"stream={stream}")] for stream in ("events", "records")] == [9, 2]
    assert (found["broker_redis_up",], found["broker_metrics_truncated",]) == (1, 0)
    assert [value for name, *labels in found if name == "broker_build_info" for value in [found[(name, *labels)]]] == [1]
    for name in ("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "start_time_seconds", "open_fds", "max_fds"):
        assert found[(f"process_{name}",)] > 0


async def test_c63_settles_are_counted_by_outcome_and_no_row_tells_when_it_began(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(n) for n in range(9)]})

    async def counted() -> Counter[str]:
        found = await scraped(http)
        assert not [name for name, *_ in found if name.endswith("_created")]
        rows = [(labels[1], int(value)) for (name, *labels), value in found.items() if (name, *labels[:1]) == SETTLED]
        return Counter({outcome.removeprefix("outcome="): count for outcome, count in rows})

    before = await counted()  # this process may have had such a consumer before

    async def outcomes() -> dict[str, int]:
        return dict(await counted() - before)

    a, b, c, d, e, f, g, h, i = [r["ack_token"] for r in (await http.get(f"{C}/next", params={"batch_size": 9})).json()["data"]]
    await http.post(f"{C}/ack", json={"ack_tokens": [a, a]})
    nacks = [(b, "retry"), (c, "release"), (d, "reject"), (d, "retry"), (a, "reject"), (e, "reject")]
    await http.post(f"{C}/nack", json={"ack_tokens": [f], "nacks": [{"ack_token": token, "outcome": o} for token, o in nacks]})
    assert await outcomes() == {"ack": 1, "retry": 2, "release": 1, "reject": 2}
    body = {"ack": [g, g], "nack": [h, {"ack_token": i, "outcome": "release"}, {"ack_token": g, "outcome": "release"}]}
    await http.post(f"{C}/next", json=body)
    assert await outcomes() == {"ack": 2, "retry": 3, "release": 2, "reject": 2}


async def test_c63_request_time_is_without_waiting_which_is_counted_for_itself(http: httpx.AsyncClient) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})

    async def sums() -> tuple[float, float, float, float]:
        found = await scraped(http)
        labels = ("operation=next", "status=200")
        request = [found.get((f"broker_request_seconds_{part}", *labels), 0) for part in ("count", "sum")]
        return request[0], request[1], found["broker_wait_seconds_count",], found["broker_wait_seconds_sum",]

    before = await sums()
    await http.get(f"{C}/next")
    await http.get(f"{C}/next", params={"wait_for": "500ms"})
    calls, seconds, waits, waited = [after - now for after, now in zip(await sums(), before, strict=True)]
    assert (calls, waits) == (2, 1)
    assert waited >= 0.49
    assert seconds < waited, "what it waited for is not in it"


async def test_c63_what_redis_holds_is_asked_once_in_five_seconds(http: httpx.AsyncClient, broker: Broker, store: Store) -> None:
    for n in range(3):
        await http.post("/v1/http-consumers", json={"name": f"c{n}", "stream_id": "events"})

    async def asked(scraper: Scraper, times: int) -> int:
        before = await commands(store, "evalsha", "eval")
        await asyncio.gather(*(scraper.scrape() for _ in range(times)))
        return await commands(store, "evalsha", "eval") - before

    scraper = Scraper(broker)
    await broker.overview()  # the script is loaded
    assert await asked(scraper, 20) == 2, "one script a stream, for all"
    assert await asked(scraper, 1) == 0
    assert scraper._taken is not None
    scraper._taken.at -= KEPT_S
    assert await asked(scraper, 20) == 2


async def test_c63_a_thousand_consumers_take_some_scripts_that_do_not_ask_for_the_groups(broker: Broker, store: Store) -> None:
    for s in range(10):
        await broker.streams.create(StreamSpec(name=f"s{s}", kind="events"))
        for n in range(12):
            await broker.consumers.create(ConsumerSpec(name=f"c{s}-{n}", stream_id=f"s{s}"))
        await broker.publish(f"s{s}", [event(n) for n in range(100)])
        for _ in range(3):
            await broker.next(f"c{s}-0", 10)
    before = await commands(store, "evalsha", "eval"), await commands(store, "xinfo|groups", "xinfo|stream")
    found = await broker.overview()
    assert (len(found.consumers), found.truncated) == (120, False)
    assert await commands(store, "evalsha", "eval") - before[0] < 120 / 2
    assert await commands(store, "xinfo|groups", "xinfo|stream") == before[1]


async def test_c63_consumers_beyond_the_first_thousand_are_left_out_and_it_says_so(broker: Broker, store: Store) -> None:
    """Rows of the registry alone: whom they name is not there, which takes no room."""
    await broker.consumers.create(ConsumerSpec(name="z", stream_id="events"))
    await store.call("HSET", "broker:consumers", *(text for n in range(CONSUMERS - 1) for text in (f"c{n:04}", "events")))
    async with a_server(broker) as http:
        found = await scraped(http)
    assert (found["broker_metrics_truncated",], ("broker_consumer_pending", "consumer=z", "stream=events") in found) == (0, True)
    await store.call("HSET", "broker:consumers", "d", "events")
    async with a_server(broker) as http:
        found = await scraped(http)
    assert (found["broker_metrics_truncated",], ("broker_consumer_pending", "consumer=z", "stream=events") in found) == (1, False)


async def test_c63_what_was_deleted_vanishes_at_once_whoever_deleted_it(http: httpx.AsyncClient, broker: Broker) -> None:
    await http.post("/v1/streams", json={"name": "s", "kind": "events"})
    for name in ("gone", "stays"):
        await http.post("/v1/http-consumers", json={"name": name, "stream_id": "s" if name == "gone" else "events"})
        await http.post(f"/v1/streams/{'s' if name == 'gone' else 'events'}/messages", json={"messages": [event(1)]})
        assert (await http.get(f"/v1/http-consumers/{name}/next")).json()["data"]
    labels = {label for _, *labels in await scraped(http) for label in labels}
    assert {"consumer=gone", "consumer=stays", "stream=s", "stream=events"} <= labels
    await broker.streams.delete("s", force=True)  # as another server does
    labels = {label for _, *labels in await scraped(http) for label in labels}
    assert {"consumer=gone", "consumer=stays", "stream=s", "stream=events"} & labels == {"consumer=stays", "stream=events"}


async def test_c63_metrics_may_need_a_token_that_reads_or_not_be_there(broker: Broker) -> None:
    tokens = AccessTokens(broker.store)
    texts = {name: await tokens.create(name, scopes) for name, scopes in
             (("admin", ["admin"]), ("reader", ["read"]), ("worker", ["consume:*", "manage:*"]))}  # fmt: skip

    def by(name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {texts[name]}"}

    async with a_server(broker, metrics="token") as http:
        refused(await http.get("/metrics"), 401, "UNAUTHENTICATED")
        refused(await http.get("/metrics", headers=by("worker")), 403, "FORBIDDEN")
        assert [(await http.get("/metrics", headers=by(name))).status_code for name in ("admin", "reader")] == [200, 200]
    async with a_server(broker, metrics="off") as http:
        for headers in ({}, by("admin")):
            refused(await http.get("/metrics", headers=headers), 404, "NOT_FOUND")
    async with a_server(broker) as http:
        assert (await http.get("/metrics")).status_code == 200
