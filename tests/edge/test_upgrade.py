"""C52: an offer to speak another protocol is ignored, and the body is read."""

import asyncio
import json

import pytest

from tests.support.wire import PUBLISH, Edge, Wire

pytestmark = pytest.mark.anyio

H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)
OFFERS = [
    H2C,
    ("Upgrade: h2c", "connection: upgrade"),
    (
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ),
    ("Connection: Upgrade", "Upgrade: TLS/1.0"),
    ("Connection: upgrade", "Upgrade: anything, h2c"),
]
EVENTS = json.dumps({"messages": [{"collection_id": "a:b", "data": n} for n in range(2)]}).encode()


@pytest.mark.parametrize("offer", OFFERS)
async def test_c52_the_body_of_a_request_that_offers_an_upgrade_is_read(server: Edge, offer: tuple[str, ...]) -> None:
    async with server.wire() as wire:
        for count in (1, 2):
            wire.ask("POST", "/streams/events/messages", EVENTS, *offer)
            answer = await wire.answer()
            assert (answer.status, answer.json["info"]) == (200, {"created": 2}), count
        wire.ask("GET", "/streams/events")
        assert (await wire.answer()).json["info"]["messages"] == 4


@pytest.mark.parametrize("offer", OFFERS)
async def test_c52_a_get_that_offers_an_upgrade_is_answered(server: Edge, offer: tuple[str, ...]) -> None:
    async with server.wire() as wire:
        wire.ask("GET", "/streams/events", None, *offer)
        wire.ask("GET", "/streams/records", None, *offer)
        assert [(await wire.answer()).json["id"] for _ in range(2)] == ["events", "records"]


async def test_c52_a_body_in_another_packet_is_no_request(server: Edge) -> None:
    hidden = b"DELETE /v1/streams/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with server.wire() as wire:
        head = PUBLISH + f"Content-Length: {len(hidden)}\n"
        wire.say(head + "\n".join((*H2C, "", "")))
        await server.call("GET", "/streams")  # by then the server has read the head
        wire.say(hidden)
        assert (await wire.answer()).code == "INVALID_REQUEST"
        wire.ask("GET", "/streams/events")
        assert (await wire.answer()).json["id"] == "events"


async def test_c52_a_chunked_body_after_an_offer_comes_byte_by_byte(server: Edge) -> None:
    async with server.wire() as wire:
        lines = b'{"collection_id":"a:b","data":1}\n{"collection_id":"a:b","data":2}\n'
        head = PUBLISH.replace("json", "x-ndjson") + "Transfer-Encoding: chunked\n"
        text = (head + "\n".join((*H2C, "", ""))).replace("\n", "\r\n").encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (
            len(lines),
            lines,
        )
        for byte in text:
            wire.say(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.answer()).json["info"] == {"created": 2}


async def _calls(wire: Wire, *calls: tuple[str, dict[str, object]]) -> list[object]:
    answers = []
    for path, body in calls:
        wire.ask("POST", path, json.dumps(body).encode(), *H2C)
        answers.append((await wire.answer()).json)
    return answers


async def test_c52_what_a_body_asks_for_is_done(server: Edge) -> None:
    """Without its body a call is another one: redrive in earnest, pause without end, next without the ack."""
    async with server.wire() as wire:
        name = "/http-consumers/c"
        _, _, batch, _ = await _calls(
            wire,
            ("/http-consumers", {"name": "c", "stream_id": "events"}),
            ("/streams/events/messages", {"messages": [{"collection_id": "a:b", "data": n} for n in range(3)]}),
            (name + "/next", {"batch_size": 2}),
            (name + "/pause", {"until": "2001-01-01T00:00:00Z"}),
        )
        assert isinstance(batch, dict)
        first, second = (row["ack_token"] for row in batch["data"])
        then, dry = await _calls(
            wire,
            (name + "/next", {"ack": [first], "nack": [{"ack_token": second, "outcome": "reject"}]}),
            (name + "/dead-letters/redrive", {"dry_run": True}),
        )
        assert isinstance(then, dict)
        assert then["settled"] == {"acked": 1, "nacked": 1, "stale": []}
        assert len(then["data"]) == 1  # the pause was over
        assert dry == {"redriven": 1, "gone": 0}
        wire.ask("GET", name)
        assert (await wire.answer()).json["info"]["num_dead"] == 1


async def test_c52_connect_is_no_method_here(server: Edge) -> None:
    async with server.wire() as wire:
        wire.say("CONNECT example.org:443 HTTP/1.1\nHost: example.org:443\n\n")
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) in {(403, "close"), (404, "close"), (405, "close")}
        assert await wire.is_closed()


async def test_c52_the_preface_of_http_2_is_refused_in_the_one_shape(server: Edge) -> None:
    async with server.wire() as wire:
        wire.say("PRI * HTTP/2.0\n\nSM\n\n")
        assert (await wire.answer()).code == "INVALID_REQUEST"
        assert await wire.is_closed()
