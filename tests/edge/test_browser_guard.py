"""C2: a server without tokens answers programs on this machine, and no web page but its own."""

import pytest

from broker import Broker
from http_api.visitors import Visitors
from tests.support.wire import Edge, edge

pytestmark = pytest.mark.anyio

HERE = "localhost:8080"
FOREIGN = [
    ("Host: evil.example",),
    ("Host: evil.example:8080",),
    ("Host: localhost.evil.example",),
    ("Host: 10.0.0.1",),
    ("Host: [2001:db8::1]:8080",),
    ("Host: localhost:80@evil.example",),
    ("Host:",),
    (f"Host: {HERE}", "Origin: https://evil.example"),
    (f"Host: {HERE}", "Origin: http://localhost:3000"),
    (f"Host: {HERE}", "Origin: null"),
    (f"Host: {HERE}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"),
    (f"Host: {HERE}", "Sec-Fetch-Site: same-site"),
]
OWN = [
    ("Host: localhost",),
    (f"Host: {HERE}",),
    ("Host: LocalHost:1",),
    ("Host: 127.0.0.1:8080",),
    ("Host: 127.8.9.1",),
    ("Host: [::1]:8080",),
    (f"Host: {HERE}", f"Origin: http://{HERE}", "Sec-Fetch-Site: same-origin"),
    (f"Host: {HERE}", "Sec-Fetch-Site: none"),
]


async def statuses(server: Edge, headers: tuple[str, ...], *extra: str) -> list[int]:
    found = []
    calls = (
        "GET /v1/http-consumers/c/next",
        "DELETE /v1/streams/s",
        "POST /v1/http-consumers/c/reset",
        "GET /metrics",
        "GET /openapi.json",
    )
    for call in calls:
        async with server.wire() as wire:
            wire.say("\n".join((f"{call} HTTP/1.1", *headers, *extra, "", "")))
            answer = await wire.answer()
            found.append(answer.status)
            if answer.status == 403:
                assert answer.code == "FORBIDDEN"
    return found


@pytest.fixture
async def held(server: Edge) -> Edge:
    """A server with a stream to lose, and a message to take."""
    await server.call("POST", "/streams", {"name": "s"})
    await server.call("POST", "/http-consumers", {"name": "c", "stream_id": "events"})
    await server.call("POST", "/streams/events/messages", {"messages": [{"collection_id": "a:b", "data": 1}]})
    return server


@pytest.mark.parametrize("headers", FOREIGN, ids=" ".join)
async def test_c2_a_foreign_page_is_403_and_nothing_happens(held: Edge, headers: tuple[str, ...]) -> None:
    assert await statuses(held, headers) == [403] * 5
    info = (await held.call("GET", "/http-consumers/c")).json["info"]
    assert (info["num_pending"], info["num_ack_pending"]) == (1, 0)
    assert (await held.call("GET", "/streams/s")).status == 200


@pytest.mark.parametrize("headers", OWN, ids=" ".join)
async def test_c2_programs_on_this_machine_and_its_own_pages_are_served(held: Edge, headers: tuple[str, ...]) -> None:
    assert await statuses(held, headers) == [200, 200, 415, 200, 200] or await statuses(held, headers) == [
        200,
        404,
        400,
        200,
        200,
    ]


async def test_c2_health_is_for_whoever_asks(server: Edge) -> None:
    async with server.wire() as wire:
        wire.say("GET /health/live HTTP/1.1\nHost: balancer.example\n\n")
        assert (await wire.answer()).status == 200


def test_c2_the_name_that_the_server_was_bound_to_is_its_own() -> None:
    Visitors("my-laptop").check([(b"host", b"My-Laptop:8080")])


async def test_c2_where_tokens_are_needed_a_token_is_all_that_counts(broker: Broker) -> None:
    async with edge(broker, is_open=False) as server:
        token = await server.token("a")
        for headers in FOREIGN[:1] + FOREIGN[7:]:
            async with server.wire() as wire:
                wire.say("\n".join(("GET /v1/streams HTTP/1.1", *headers, token, "", "")))
                assert (await wire.answer()).status == 200


@pytest.mark.parametrize("kind", ["", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded"])
async def test_c1_a_form_publishes_nothing(server: Edge, kind: str) -> None:
    body = b'{"messages":[{"collection_id":"a:b","data":1}]}'
    async with server.wire() as wire:
        wire.say(
            "\n".join(
                (
                    "POST /v1/streams/events/messages HTTP/1.1",
                    "Host: localhost",
                    *[kind][: bool(kind)],
                    f"Content-Length: {len(body)}",
                    "",
                    "",
                )
            ),
            body,
        )
        answer = await wire.answer()
        assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert (await server.call("GET", "/streams/events")).json["info"]["messages"] == 0
