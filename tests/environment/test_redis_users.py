"""Redis users that may do little more than what a broker does, as managed services and careful operators have them."""

from collections.abc import Iterator

import httpx
import pytest
import redis

from broker.store.client import Store
from broker.store.embedded import Embedded
from broker.store.guarantees import examine
from tests.support.command_line import Cli
from tests.support.servers import BACKENDS, running
from tests.support.serving import serving

pytestmark = pytest.mark.anyio
RIGHTS = {
    "no INFO, MEMORY, CONFIG": "~* &* +@all -info -memory -config",
    "not @dangerous": "~* &* +@all -@dangerous -memory",
    "what is needed alone": "~broker:* resetchannels -@all +@read +@write +@scripting +@connection +time -@dangerous",
}


@pytest.fixture(scope="module", params=BACKENDS)
def server(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A server of the tests here."""
    with running(request.param) as server:
        yield server


@pytest.fixture(params=RIGHTS)
def url(request: pytest.FixtureRequest, server: Embedded) -> str:
    """The server, as a user with few rights sees it."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">p@ss", *RIGHTS[request.param].split())
    return server.url.replace("unix://", "unix://few:p%40ss@")


async def test_what_redis_does_not_tell_is_unknown_and_warned_of(url: str) -> None:
    store = Store.from_url(url)
    guarantees = await examine(store)
    await store.close()
    assert (guarantees.server, guarantees.persistence) == ("a Redis of unknown version", "unknown: Redis does not tell")
    assert [warning.partition(";")[0] for warning in guarantees.warnings] == [
        "Redis does not tell its eviction policy", "Redis does not tell whether it keeps data on disk",
    ]  # fmt: skip


async def test_a_server_does_all_of_its_work(url: str) -> None:
    async with serving(url) as client:

        async def call(method: str, path: str, **options: object) -> httpx.Response:
            reply = await client.request(method, "/v1" + path, **options)  # type: ignore[arg-type]
            assert reply.is_success, reply.text
            return reply

        for kind in ("records", "events"):
            message = {"collection_id": "a:b", "upstream_id": "1", "data": 1}
            await call("POST", f"/streams/{kind}/messages", json={"messages": [message]})
            assert (await call("GET", f"/streams/{kind}")).json()["info"]["bytes"] >= 0
            await call("POST", "/http-consumers", json={"name": kind, "stream_id": kind, "ordering": "key", "max_deliver": 1})
            (delivery,) = (await call("GET", f"/http-consumers/{kind}/next")).json()["data"]
            tokens = {"ack_tokens": [delivery["ack_token"]]}
            for step in ("extend", "nack"):
                await call("POST", f"/http-consumers/{kind}/{step}", json=tokens)
            assert (await call("POST", f"/http-consumers/{kind}/dead-letters/redrive", json={})).json()["redriven"] == 1
            for path in ("pending", "peek", "dead-letters"):
                await call("GET", f"/http-consumers/{kind}/{path}")
            for step in ("pause", "resume"):
                await call("POST", f"/http-consumers/{kind}/{step}")
            await call("POST", f"/http-consumers/{kind}/reset", json={"deliver_policy": "all"})
            await call("DELETE", f"/streams/{kind}", params={"force": "true"})


def test_check_is_strict_where_it_is_told_to_be(url: str) -> None:
    cli = Cli("http://127.0.0.1:1")
    assert cli.ok("check", "--redis", url).count("warning: ") == 2
    strict = cli.run("check", "--strict", "--redis", url)
    assert (strict.returncode, strict.stderr) == (1, b"")
