"""Three servers behind haproxy, configured as compose.yaml has it: round robin, no stickiness (C21, C45, C46)."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import httpx
import pytest
import redis

from broker.access.tokens import AccessTokens
from broker.store.client import Store
from tests.fault.calling import answered, call, data, fetch, make, publish
from tests.support.balanced import killing, run, three_servers, within
from tests.support.balancer import BINARY, balancing
from tests.support.polling import until
from tests.support.processes import ServeProcess
from tests.support.slow_clients import slow

pytestmark = pytest.mark.skipif(BINARY is None, reason="haproxy is not installed")

# What a client may see of a server that stops or dies. Each is cured by making the call again.
CURABLE = {"502", "503", "504", "RemoteProtocolError", "ReadError", "WriteError", "ConnectError"}


@dataclass
class Servers:
    """Three servers, and the balancer before them."""

    processes: list[ServeProcess]
    redis_url: str
    url: str

    @property
    def urls(self) -> list[str]:
        """Each server's own address."""
        return [process.url for process in self.processes]

    def waiting(self) -> int:
        """How many calls of next wait, in all servers."""
        found = 0.0
        for url in self.urls:
            lines = httpx.get(url + "/metrics").text.splitlines()
            found += sum(float(line.split()[1]) for line in lines if line.startswith("broker_waiting_calls "))
        return int(found)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers that are shared by the tests of this file; each test makes streams and consumers of its own."""
    with three_servers() as (processes, redis_url), balancing([process.url for process in processes]) as url:
        yield Servers(processes, redis_url, url)


# -- round robin, one behaviour


def test_c46_calls_of_one_connection_go_to_the_servers_in_turn(servers: Servers) -> None:
    with httpx.Client(base_url=servers.url) as client:
        # A request id begins with what its server chose at its start.
        asked = [client.get("/v1/streams").headers["x-request-id"][:12] for _ in range(9)]
    assert len(set(asked[:3])) == 3
    assert asked == asked[:3] * 3


def test_c46_a_worker_whose_calls_go_to_the_servers_in_turn_just_works(servers: Servers) -> None:
    path = make(servers.url, "in-turn")
    publish(servers.url, "in-turn", *range(40))
    seen: list[int] = []
    with httpx.Client(base_url=servers.url + path) as client:
        while len(seen) < 40:
            fetched = client.get("/next", params={"batch_size": 4})
            batch = fetched.json()
            acked = client.post("/ack", json={"ack_tokens": [row["ack_token"] for row in batch["data"]]})
            assert acked.json() == {"acked": 4, "stale": []}
            assert acked.headers["x-request-id"][:12] != fetched.headers["x-request-id"][:12]
            seen += data(batch)
    assert seen == list(range(40))


def test_c46_what_one_server_makes_the_others_have_at_once(servers: Servers) -> None:
    for n, (first, second, third) in enumerate(permutations(servers.urls)):
        path = make(first, f"made-{n}")
        publish(second, f"made-{n}", n)
        batch = fetch(third, path)
        assert data(batch) == [n]
        settled = call("POST", second + path + "/ack", json={"ack_tokens": [batch["data"][0]["ack_token"]]})
        assert settled == {"acked": 1, "stale": []}
        assert call("GET", first + path)["info"]["num_ack_pending"] == 0


def test_c46_a_waiting_call_is_answered_by_what_another_server_publishes(servers: Servers) -> None:
    path = make(servers.url, "woken")
    for waits, publishes in permutations(servers.urls, 2):
        with answered(partial(fetch, waits, path, wait_for="20s")) as answers:
            until(lambda: servers.waiting() == 1)
            started = time.monotonic()
            publish(publishes, "woken", publishes)
        assert time.monotonic() - started < 2
        assert data(answers[0]) == [publishes]


def test_c29_c46_a_changed_bound_holds_at_once_on_every_server(servers: Servers) -> None:
    first, second, third = servers.urls
    path = make(first, "bound", max_ack_pending=1)
    publish(first, "bound", *range(6))
    assert data(fetch(second, path, batch_size=10)) == [0]

    with answered(partial(fetch, third, path, batch_size=2, wait_for="20s")) as answers:
        until(lambda: servers.waiting() == 1)
        started = time.monotonic()
        call("PATCH", first + path, json={"max_ack_pending": 4})
    assert time.monotonic() - started < 2
    assert data(answers[0]) == [1, 2]
    assert data(fetch(second, path, batch_size=10)) == [3]


def test_c39_c46_a_pause_holds_at_once_on_every_server_and_so_does_its_end(servers: Servers) -> None:
    first, second, third = servers.urls
    path = make(first, "paused")
    waiting = [partial(fetch, url, path, wait_for="20s") for url in servers.urls]
    with answered(*waiting) as answers:
        until(lambda: servers.waiting() == 3)
        started = time.monotonic()
        call("POST", first + path + "/pause", json={"until": None})
    assert time.monotonic() - started < 2
    assert [answer["data"] for answer in answers] == [[], [], []]

    publish(second, "paused", "held back")
    assert [data(fetch(at, path)) for at in servers.urls] == [[], [], []]
    call("POST", third + path + "/resume")
    assert data(fetch(first, path)) == ["held back"]


@pytest.mark.anyio
async def test_c2_c51_an_access_token_holds_at_once_on_every_server_and_so_does_its_end() -> None:
    with three_servers() as (processes, redis_url):

        def statuses(token: str | None) -> list[int]:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return [httpx.get(process.url + "/v1/streams", headers=headers).status_code for process in processes]

        store = Store.from_url(redis_url)
        try:
            assert statuses(None) == [200] * 3
            tokens = AccessTokens(store)
            root = await tokens.create("root", ["admin"])
            other = await tokens.create("other", ["admin"])
            until(lambda: statuses(root) == statuses(other) == [200] * 3, seconds=1)
            assert statuses("unknown") == [401] * 3
            await tokens.revoke("other")
            until(lambda: statuses(other) == [401] * 3, seconds=1)
            assert statuses(root) == [200] * 3
            await tokens.revoke("root")
            until(lambda: statuses(root) == [401] * 3, seconds=1)
            assert statuses(None) == [401] * 3
        finally:
            await store.close()


# -- servers that die or stop under load


def test_c46_c47_servers_killed_and_started_again_under_load_lose_nothing(servers: Servers) -> None:
    account = asyncio.run(run(servers.url, 2500, 10, 7, killing(servers.processes, 2), "killed"))
    assert account.unmet() == []
    assert account.disturbed >= 3
    assert set(account.errors) <= CURABLE


def test_c45_servers_drained_under_load_lose_nothing_and_end_in_time(servers: Servers) -> None:
    took: list[float] = []

    def drain(process: ServeProcess) -> None:
        started = time.monotonic()
        assert process.terminate() == 0
        took.append(time.monotonic() - started)
        process.restart()

    async def in_turn(done: asyncio.Event) -> int:
        for process in servers.processes:
            await within(done, 0.5)
            await asyncio.to_thread(drain, process)
        return len(servers.processes)

    account = asyncio.run(run(servers.url, 2500, 10, 6, in_turn, "drained"))
    assert account.unmet() == []
    # No server lost a call that it had begun, so no delivery waited out its ack wait for that.
    assert set(account.delivered_again()) <= {"ack came after the ack wait"}
    assert set(account.errors) <= CURABLE
    assert max(took) < 10


# -- waits that are longer than the balancer's patience


@pytest.mark.parametrize("cut_by", ["balancer", "client"])
def test_c21_a_wait_that_is_cut_takes_no_message_with_it(servers: Servers, cut_by: str) -> None:
    path = make(servers.url, f"cut-by-{cut_by}")
    with balancing(servers.urls, {"timeout server": "1s"} if cut_by == "balancer" else {}) as url:
        for n in range(3):
            if cut_by == "balancer":
                reply = httpx.get(url + path + "/next", params={"wait_for": "30s"}, timeout=30)
                assert (reply.status_code, reply.json()["code"]) == (504, "OUTCOME_UNKNOWN")
            else:
                with pytest.raises(httpx.ReadTimeout):
                    httpx.get(url + path + "/next", params={"wait_for": "30s"}, timeout=0.5)
            until(lambda: servers.waiting() == 0)

            publish(url, f"cut-by-{cut_by}", n)
            batch = fetch(url, path)
            assert (data(batch), batch["data"][0]["deliver_count"]) == ([n], 1)
            assert batch["info"] == {"num_pending": 0, "num_ack_pending": n + 1}


def test_c21_a_client_that_waits_is_not_cut_for_its_silence(servers: Servers) -> None:
    path = make(servers.url, "silent")
    with balancing(servers.urls, {"timeout client": "1s"}) as url:
        started = time.monotonic()
        assert fetch(url, path, wait_for="2s")["data"] == []
        assert time.monotonic() - started >= 2


# -- a full Redis


def checks(url: str) -> int:
    """How many health checks a server has answered."""
    lines = httpx.get(url + "/metrics").text.splitlines()
    answered = 'broker_request_seconds_count{operation="ready"'
    return sum(int(float(line.split()[1])) for line in lines if line.startswith(answered))


def test_c3_workers_drain_a_full_redis_through_the_balancer(servers: Servers) -> None:
    path = make(servers.url, "full")
    publish(servers.url, "full", 1, 2, 3)
    with redis.Redis(unix_socket_path=servers.redis_url.removeprefix("unix://")) as client:
        client.config_set("maxmemory", 1)
        try:
            before = [checks(url) for url in servers.urls]
            # Twice refused, a server would be taken out.
            until(lambda: all(checks(url) > count + 2 for url, count in zip(servers.urls, before, strict=True)), seconds=15)
            batch = fetch(servers.url, path, batch_size=3)
            assert data(batch) == [1, 2, 3]
            tokens = [row["ack_token"] for row in batch["data"]]
            assert call("POST", servers.url + path + "/ack", json={"ack_tokens": tokens}) == {"acked": 3, "stale": []}
            event = {"collection_id": "a:b", "data": 4}
            refused = httpx.post(servers.url + "/v1/streams/full/messages", json={"messages": [event]})
            assert (refused.status_code, refused.json()["code"]) == (507, "STORE_FULL")
        finally:
            client.config_set("maxmemory", 0)


# -- slow clients


@pytest.mark.anyio
async def test_slow_clients_do_not_hold_others_up(servers: Servers) -> None:
    make(servers.url, "slow")
    path = make(servers.url, "quick")
    for _ in range(8):
        publish(servers.url, "slow", *["x" * 7000] * 125)
    rounds = 0
    async with slow(servers.url, "slow") as clients:
        async with httpx.AsyncClient(base_url=servers.url) as client:
            until = time.monotonic() + 2
            while time.monotonic() < until:
                started = time.monotonic()
                message = {"collection_id": "a:b", "data": started}
                (await client.post("/v1/streams/quick/messages", json={"messages": [message]})).raise_for_status()
                batch = (await client.get(path + "/next", params={"wait_for": "5s"})).raise_for_status().json()
                assert data(batch) == [started]
                acked = await client.post(path + "/ack", json={"ack_tokens": [batch["data"][0]["ack_token"]]})
                assert acked.json() == {"acked": 1, "stale": []}
                rounds += 1
        assert not any(task.done() for task in clients)
    answers = [await task for task in clients]

    assert rounds > 1  # none took the 5 s after which httpx gives up
    assert answers[:10] == [b"HTTP/1.1 200 OK\r\n"] * 10
    assert all(len(answer["data"]) == 1000 for answer in answers[10:])
