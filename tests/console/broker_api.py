"""What the tests of the console do through the API: they seed, and they look at what an action did."""

import json
from typing import Any

import httpx

# In every place where a user's text goes: it must be shown, and do nothing.
EVIL = "<img src=x onerror=alert(1)>"
# Where only visible ASCII goes.
EVIL_WORKER = "<img/src=x/onerror=alert(2)>"


class Seeder:
    """A caller of the API of one server."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self.headers = url, {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer of a call that must go well. `body`: an object, or JSON text as it is to be sent."""
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        headers = self.headers | ({"Content-Type": "application/json"} if text else {})
        reply = httpx.request(method, f"{self.url}/v1/{path}", content=text, headers=headers, timeout=30)
        assert reply.status_code < 300, reply.text
        return reply.json()

    def stream(self, name: str, **fields: Any) -> None:
        """A new event stream."""
        self.call("POST", "streams", {"name": name, "kind": "events", **fields})

    def consumer(self, name: str, stream: str, **fields: Any) -> None:
        """A new consumer."""
        self.call("POST", "http-consumers", {"name": name, "stream_id": stream, "ack_wait_ms": 600_000, **fields})

    def info(self, consumer: str) -> Any:
        """The counts of a consumer."""
        return self.call("GET", f"http-consumers/{consumer}")["info"]

    def publish(self, stream: str, *messages: Any) -> list[str]:
        """Publish events; gives their message ids."""
        rows = [message if isinstance(message, str) else json.dumps({"collection_id": "shop:orders", **message}) for message in messages]
        answer = self.call("POST", f"streams/{stream}/messages", '{"messages":[' + ",".join(rows) + "]}")
        return [row["message_id"] for row in answer["data"]]

    def take(self, consumer: str, count: int, worker: str) -> list[Any]:
        """Let a worker take some messages."""
        deliveries: list[Any] = self.call("POST", f"http-consumers/{consumer}/next", {"batch_size": count, "worker": worker})["data"]
        assert len(deliveries) == count
        return deliveries

    def ack(self, consumer: str, deliveries: list[Any]) -> None:
        """Ack what was taken."""
        self.call("POST", f"http-consumers/{consumer}/ack", {"ack_tokens": [one["ack_token"] for one in deliveries]})

    def nack(self, consumer: str, deliveries: list[Any], **how: Any) -> None:
        """Nack what was taken, all alike."""
        self.call("POST", f"http-consumers/{consumer}/nack", {"nacks": [{"ack_token": one["ack_token"], **how} for one in deliveries]})

    def reject(self, consumer: str, count: int, reason: str, worker: str = "w1") -> list[str]:
        """Make dead letters; gives the ids of their messages."""
        taken = self.take(consumer, count, worker)
        self.nack(consumer, taken, outcome="reject", reason=reason)
        return [one["id"] for one in taken]


def world(api: Seeder) -> str:
    """Create a stream with consumers in every state and markup in all texts. Returns the id of its first message."""
    api.stream("world", max_messages=100_000, metadata={"owner": EVIL, EVIL: EVIL})
    api.consumer("world-keys", "world", ordering="key", metadata={"team": EVIL})
    api.consumer("world-dead", "world", filters={"collection_id": [EVIL, "shop:*"]})
    api.consumer("world-full", "world", max_ack_pending=2)
    api.consumer("world-retry", "world")
    data = {"order": EVIL, EVIL: [EVIL, {"deep": EVIL}]}
    evil = {"collection_id": EVIL, "event": EVIL, "key": EVIL, "upstream_id": EVIL, "resource_id": EVIL, "data": data}
    ids = api.publish("world", *({**evil, "id": f"{EVIL}{i}", "changes": {EVIL: EVIL}, "headers": {"trace": EVIL}} for i in range(8)))
    api.publish("world", {**evil, "id": f"{EVIL}later", "deliver_at": "2031-01-01T00:00:00Z"})
    api.take("world-keys", 1, EVIL_WORKER)
    api.take("world-full", 2, EVIL_WORKER)
    api.nack("world-retry", api.take("world-retry", 2, EVIL_WORKER), delay_ms=600_000, reason=EVIL)
    api.reject("world-dead", 3, EVIL, EVIL_WORKER)
    return ids[0]
