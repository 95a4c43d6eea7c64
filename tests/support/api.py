"""One interface to the broker for the contract tests, over HTTP and over the Python library (library_api.py).

Every method takes and gives the JSON of the API, as Python values; a refusal raises `Refused`.
"""

from typing import Any, Protocol

import httpx

Json = dict[str, Any]


class Refused(Exception):
    """The broker refused: the status and code of the error table, and the fields that a 422 names."""

    def __init__(self, status: int, code: str, errors: dict[str, list[str]] | None = None) -> None:
        super().__init__(f"{status} {code} {errors or ''}")
        self.status = status
        self.code = code
        self.errors = errors or {}


class Api(Protocol):
    """What both transports do."""

    async def create_stream(self, **fields: Any) -> Json: ...
    async def get_stream(self, name: str) -> Json: ...
    async def update_stream(self, name: str, **fields: Any) -> Json: ...
    async def delete_stream(self, name: str, force: bool = False) -> None: ...
    async def list_streams(self, after: str | None = None, limit: int = 100) -> Json: ...
    async def publish(self, stream: str, messages: list[Json]) -> Json: ...
    async def messages(self, stream: str, **query: Any) -> Json: ...
    async def record(self, stream: str, record_id: str) -> Json: ...
    async def create_consumer(self, **fields: Any) -> Json: ...
    async def get_consumer(self, name: str) -> Json: ...
    async def update_consumer(self, name: str, **fields: Any) -> Json: ...
    async def delete_consumer(self, name: str) -> None: ...
    async def list_consumers(self, **query: Any) -> Json: ...
    async def reset_consumer(self, name: str, deliver_policy: str) -> Json: ...
    async def pause_consumer(self, name: str) -> Json: ...
    async def resume_consumer(self, name: str) -> Json: ...
    async def next(self, consumer: str, batch_size: int = 1, min_batch: int = 1, wait_ms: int = 0) -> Json: ...
    async def settle_and_fetch(self, consumer: str, batch_size: int, ack: list[str], nack: list[Json]) -> Json: ...
    async def ack(self, consumer: str, tokens: list[str]) -> Json: ...
    async def nack(self, consumer: str, tokens: list[str], delay_ms: int | None = None) -> Json: ...
    async def nack_each(self, consumer: str, nacks: list[Json]) -> Json: ...
    async def extend(self, consumer: str, tokens: list[str]) -> Json: ...
    async def pending(self, consumer: str, **query: Any) -> Json: ...
    async def peek(self, consumer: str, limit: int = 10) -> list[Json]: ...
    async def dead_letters(self, consumer: str, **query: Any) -> Json: ...
    async def redrive(self, consumer: str, dry_run: bool = False) -> Json: ...


class HttpApi:
    """The API over HTTP."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(self, method: str, path: str, **options: Any) -> Any:
        """The decoded answer; Refused for an error of the one shape."""
        if "params" in options:
            options["params"] = {k: v for k, v in options["params"].items() if v is not None}
        reply = await self.client.request(method, "/v1" + path, **options)
        body = reply.json()
        if reply.status_code >= 400:
            allowed = {"code", "summary", "validation_errors"} if reply.status_code == 422 else {"code", "summary"}
            assert set(body) == allowed, body
            raise Refused(reply.status_code, body["code"], body.get("validation_errors"))
        return body

    async def create_stream(self, **fields: Any) -> Json:
        return await self.call("POST", "/streams", json=fields)  # type: ignore[no-any-return]

    async def get_stream(self, name: str) -> Json:
        return await self.call("GET", f"/streams/{name}")  # type: ignore[no-any-return]

    async def update_stream(self, name: str, **fields: Any) -> Json:
        return await self.call("PATCH", f"/streams/{name}", json=fields)  # type: ignore[no-any-return]

    async def delete_stream(self, name: str, force: bool = False) -> None:
        answer = await self.call("DELETE", f"/streams/{name}", params={"force": "true" if force else None})
        assert answer == {"id": name, "deleted": True}

    async def list_streams(self, after: str | None = None, limit: int = 100) -> Json:
        return await self.call("GET", "/streams", params={"after": after, "limit": limit})  # type: ignore[no-any-return]

    async def publish(self, stream: str, messages: list[Json]) -> Json:
        return await self.call("POST", f"/streams/{stream}/messages", json={"messages": messages})  # type: ignore[no-any-return]

    async def messages(self, stream: str, **query: Any) -> Json:
        page: Json = await self.call("GET", f"/streams/{stream}/messages", params=query)
        assert page.pop("scanned") >= len(page["data"])
        return page

    async def record(self, stream: str, record_id: str) -> Json:
        return await self.call("GET", f"/streams/{stream}/records/{record_id}")  # type: ignore[no-any-return]

    async def create_consumer(self, **fields: Any) -> Json:
        created: Json = await self.call("POST", "/http-consumers", json=fields)
        hurts = created["max_deliver"] == -1 and not created["backoff_ms"]
        assert bool(created.pop("warnings", None)) == hurts
        return created

    async def get_consumer(self, name: str) -> Json:
        return await self.call("GET", f"/http-consumers/{name}")  # type: ignore[no-any-return]

    async def update_consumer(self, name: str, **fields: Any) -> Json:
        return await self.call("PATCH", f"/http-consumers/{name}", json=fields)  # type: ignore[no-any-return]

    async def delete_consumer(self, name: str) -> None:
        answer = await self.call("DELETE", f"/http-consumers/{name}")
        assert answer == {"id": name, "deleted": True}

    async def list_consumers(self, **query: Any) -> Json:
        return await self.call("GET", "/http-consumers", params=query)  # type: ignore[no-any-return]

    async def reset_consumer(self, name: str, deliver_policy: str) -> Json:
        return await self.call("POST", f"/http-consumers/{name}/reset", json={"deliver_policy": deliver_policy})  # type: ignore[no-any-return]

    async def pause_consumer(self, name: str) -> Json:
        return await self.call("POST", f"/http-consumers/{name}/pause", json={"until": None})  # type: ignore[no-any-return]

    async def resume_consumer(self, name: str) -> Json:
        return await self.call("POST", f"/http-consumers/{name}/resume")  # type: ignore[no-any-return]

    async def next(self, consumer: str, batch_size: int = 1, min_batch: int = 1, wait_ms: int = 0) -> Json:
        params = {"batch_size": batch_size, "min_batch": min_batch, "wait_for": wait_ms}
        return await self.call("GET", f"/http-consumers/{consumer}/next", params=params)  # type: ignore[no-any-return]

    async def settle_and_fetch(self, consumer: str, batch_size: int, ack: list[str], nack: list[Json]) -> Json:
        body = {"batch_size": batch_size, "ack": ack, "nack": nack}
        return await self.call("POST", f"/http-consumers/{consumer}/next", json=body)  # type: ignore[no-any-return]

    async def ack(self, consumer: str, tokens: list[str]) -> Json:
        return await self.call("POST", f"/http-consumers/{consumer}/ack", json={"ack_tokens": tokens})  # type: ignore[no-any-return]

    async def nack(self, consumer: str, tokens: list[str], delay_ms: int | None = None) -> Json:
        body: Json = {"ack_tokens": tokens} | ({} if delay_ms is None else {"delay_ms": delay_ms})
        return await self.call("POST", f"/http-consumers/{consumer}/nack", json=body)  # type: ignore[no-any-return]

    async def nack_each(self, consumer: str, nacks: list[Json]) -> Json:
        return await self.call("POST", f"/http-consumers/{consumer}/nack", json={"nacks": nacks})  # type: ignore[no-any-return]

    async def extend(self, consumer: str, tokens: list[str]) -> Json:
        return await self.call("POST", f"/http-consumers/{consumer}/extend", json={"ack_tokens": tokens})  # type: ignore[no-any-return]

    async def pending(self, consumer: str, **query: Any) -> Json:
        return await self.call("GET", f"/http-consumers/{consumer}/pending", params=query)  # type: ignore[no-any-return]

    async def peek(self, consumer: str, limit: int = 10) -> list[Json]:
        return (await self.call("GET", f"/http-consumers/{consumer}/peek", params={"limit": limit}))["data"]  # type: ignore[no-any-return]

    async def dead_letters(self, consumer: str, **query: Any) -> Json:
        return await self.call("GET", f"/http-consumers/{consumer}/dead-letters", params=query)  # type: ignore[no-any-return]

    async def redrive(self, consumer: str, dry_run: bool = False) -> Json:
        body = {"dry_run": dry_run}
        return await self.call("POST", f"/http-consumers/{consumer}/dead-letters/redrive", json=body)  # type: ignore[no-any-return]
