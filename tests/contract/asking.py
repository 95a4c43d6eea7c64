"""What the tests of looking inside share: calls over HTTP that must succeed."""

from typing import Any

import httpx

from tests.support.api import Json


async def get(http: httpx.AsyncClient, path: str, **query: Any) -> Json:
    reply = await http.get(f"/v1{path}", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()  # type: ignore[no-any-return]


async def post(http: httpx.AsyncClient, path: str, body: Any) -> Json:
    reply = await http.post(f"/v1{path}", json=body)
    assert reply.status_code in (200, 201), reply.text
    return reply.json()  # type: ignore[no-any-return]


async def publish(http: httpx.AsyncClient, *messages: Json, stream: str = "events") -> list[str]:
    """Publish; gives the message ids."""
    answer = await post(http, f"/streams/{stream}/messages", {"messages": messages})
    return [row["message_id"] for row in answer["data"]]


async def consumer(http: httpx.AsyncClient, **fields: Any) -> None:
    await post(http, "/http-consumers", {"name": "c", "stream_id": "events"} | fields)


async def take(http: httpx.AsyncClient, batch_size: int = 1, **query: Any) -> list[str]:
    """Fetch; gives the tokens."""
    batch = await get(http, "/http-consumers/c/next", batch_size=batch_size, **query)
    return [row["ack_token"] for row in batch["data"]]


async def settle(http: httpx.AsyncClient, how: str, tokens: list[str], **fields: Any) -> Json:
    return await post(http, f"/http-consumers/c/{how}", {"ack_tokens": tokens} | fields)


async def info(http: httpx.AsyncClient, name: str = "c") -> Json:
    return (await get(http, f"/http-consumers/{name}"))["info"]  # type: ignore[no-any-return]
