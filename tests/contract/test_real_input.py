"""Real API objects and webhook events: the files of tests/data."""

import json
from pathlib import Path

import httpx
import pytest

DATA = Path(__file__).resolve().parents[1] / "data"
pytestmark = pytest.mark.anyio


def raw_data(text: str) -> str:
    """The very JSON of a message's `data`."""
    start = text.index('"data":') + len('"data":')
    return text[start : json.JSONDecoder().raw_decode(text, start)[1]]


def lines(name: str) -> list[str]:
    """The lines of a sample file."""
    return (DATA / name).read_text(encoding="utf-8").splitlines()


async def publish(http: httpx.AsyncClient, stream: str, name: str) -> dict[str, int]:
    """Publish a file as NDJSON."""
    body = (DATA / name).read_bytes()
    reply = await http.post(f"/v1/streams/{stream}/messages", content=body, headers={"content-type": "application/x-ndjson"})
    assert reply.status_code == 200
    return dict(reply.json()["info"])


async def consume(http: httpx.AsyncClient, **fields: object) -> list[str]:
    """The raw `data` of all that a new consumer gets."""
    await http.post("/v1/http-consumers", json={"name": "c", **fields})
    text = (await http.get("/v1/http-consumers/c/next", params={"batch_size": 1000})).text
    return [raw_data(row) for row in text.split('"ack_token":')[1:]]


async def test_stripe_objects_published_again_are_unchanged(http: httpx.AsyncClient) -> None:
    first = await publish(http, "records", "stripe-objects.ndjson")
    assert sum(first.values()) == len(lines("stripe-objects.ndjson"))
    assert first.keys() == {"created", "updated", "unchanged"}
    assert await publish(http, "records", "stripe-objects.ndjson") == {"unchanged": sum(first.values())}


async def test_a_provider_filter_gives_the_last_version_of_each_object_byte_for_byte(http: httpx.AsyncClient) -> None:
    await publish(http, "records", "stripe-objects.ndjson")
    last: dict[tuple[str, str], str] = {}
    for line in lines("stripe-objects.ndjson"):
        message = json.loads(line)
        last[message["collection_id"], message["upstream_id"]] = raw_data(line)
    assert sorted(await consume(http, filters={"provider": "stripe"})) == sorted(last.values())


async def test_a_collection_filter_gives_its_events_in_order_byte_for_byte(http: httpx.AsyncClient) -> None:
    await publish(http, "events", "github-events.ndjson")
    wanted = [raw_data(line) for line in lines("github-events.ndjson") if json.loads(line)["collection_id"] == "github:issues"]
    assert wanted
    assert await consume(http, stream_id="events", filters={"collection_id": "github:issues"}) == wanted


async def test_an_unfiltered_consumer_gets_all_events_in_order(http: httpx.AsyncClient) -> None:
    await publish(http, "events", "github-events.ndjson")
    assert await consume(http, stream_id="events") == [raw_data(line) for line in lines("github-events.ndjson")]
