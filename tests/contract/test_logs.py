"""Log lines (C64): time and level in each, one a request at level debug, and never a payload or a token."""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from broker import Broker, Store
from broker.access.tokens import AccessTokens
from http_api.app import create_app
from http_api.monitoring import logs
from http_api.settings import Settings
from tests.contract.helpers import event, record

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a"
FORMS: dict[str, logging.Formatter] = {"json": logs._Json(), "text": logs._Text()}


class Lines(logging.Handler):
    """What was logged, as the server would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {form: [] for form in FORMS}

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("http"):
            return  # the test's own client
        for form, formatter in FORMS.items():
            self.rows[form].append(formatter.format(record))

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The requests' lines, and nothing of before: each is read once."""
        found = [row for row in map(json.loads, self.rows["json"]) if row["message"] == "request"]
        self.rows["json"] = []
        return found


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, handler = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


async def test_c64_a_request_is_a_line_that_says_what_became_of_it(http: httpx.AsyncClient, lines: Lines) -> None:
    await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
    await http.post("/v1/streams/events/messages", json={"messages": [event(1)]})
    reply = await http.get("/v1/http-consumers/c/next", params={"worker": "w1"}, headers={"X-Request-Id": "mine"})
    await http.get("/v1/http-consumers/c/next", params={"wait_for": "50ms"})
    await http.get("/v1/streams/none")
    await http.get("/elsewhere")
    made, published, taken, waited, missing, elsewhere = lines.requests
    assert (made["operation"], made["status"], made["level"]) == ("createConsumer", 201, "debug")
    assert (published["operation"], published["stream"]) == ("publish", "events")
    assert (taken["operation"], taken["consumer"], taken["worker"], taken["request_id"]) == ("next", "c", "w1", "mine")
    assert (taken["bytes"], taken["status"]) == (len(reply.content), 200)
    assert waited["ms"] >= waited["waited_ms"] >= 49
    assert "waited_ms" not in taken
    assert (missing["operation"], missing["status"], missing["stream"]) == ("getStream", 404, "none")
    assert (elsewhere["status"], "operation" in elsewhere) == (404, False)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["time"]) for row in (made, elsewhere))
    texts = [row for row in lines.rows["text"] if " request " in row]
    assert len(texts) == 6
    assert re.fullmatch(
        r"\S+Z DEBUG request request_id=mine operation=next status=200 ms=[\d.]+ bytes=\d+ consumer=c worker=w1",
        texts[2],
    )


async def test_c64_no_line_has_what_clients_send_or_a_token(broker: Broker, store: Store, lines: Lines) -> None:
    tokens = AccessTokens(broker.store)
    text = await tokens.create("admin", ["admin"])
    await tokens.start()
    app = create_app(broker, tokens, Settings())
    bearer = {"Authorization": f"Bearer {text}", "X-Other": CANARY}
    name = "/v1/http-consumers/c"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=bearer) as http:
        made = await http.post("/v1/tokens", json={"name": "other", "scopes": ["read"]})
        secrets = [CANARY, text, made.json()["token"]]
        message: Any = {"collection_id": "crm:c", "key": CANARY, "resource_id": CANARY, "headers": {"h": CANARY}, "upstream_id": CANARY}
        bodies: list[Any] = [
            {"messages": [event(CANARY, **message), record(CANARY, CANARY)]}, {"messages": [event({CANARY: 1}, **message)]},
            {"messages": [{CANARY: CANARY}]}, {CANARY: []}, {"messages": [event(1, id=CANARY, deliver_at="2099-01-01T00:00:00Z")]},
            {"messages": CANARY},
        ]  # fmt: skip
        for body in bodies:
            await http.post("/v1/streams/events/messages", json=body)
        await http.post("/v1/streams/events/messages", content=f"{CANARY}".encode(), headers={"content-type": "application/json"})
        lines_of = f'{{"collection_id":"a:b","data":"{CANARY}"}}\n{CANARY}\n'.encode()
        await http.post("/v1/streams/events/messages", content=lines_of, headers={"content-type": "application/x-ndjson"})
        await http.post("/v1/streams/events/messages", content=b"\xc1" + CANARY.encode(), headers={"content-type": "application/msgpack"})
        await store.call("XADD", "broker:{events}:log", "*", "data", CANARY, "collection_id", CANARY)
        await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events", "metadata": {CANARY: CANARY}})
        await http.post("/v1/http-consumers", json={"name": f"{CANARY} ", CANARY: CANARY, "filters": {CANARY: CANARY}})
        batch = (await http.post(f"{name}/next", params={"batch_size": 5, CANARY: CANARY}, json={"worker": "w"})).json()["data"]
        token = batch[0]["ack_token"]
        secrets.append(token)
        await http.post(f"{name}/nack", json={"nacks": [{"ack_token": token, "outcome": "reject", "reason": CANARY}]})
        await http.post(f"{name}/ack", json={"ack_tokens": [CANARY, token]})
        await http.get(f"{name}/next", params={"batch_size": CANARY, "worker": f"{CANARY} {CANARY}"})
        await http.get("/v1/streams/events/messages", params={"contains": CANARY, "after": CANARY, "key": CANARY})
        await http.get(f"/v1/streams/events/messages/{CANARY}")
        await http.get(f"/v1/streams/records/records/{CANARY}")
        await http.get(f"/{CANARY}?{CANARY}")
        await http.request(CANARY.upper(), f"/v1/streams?{CANARY}={CANARY}")
        await http.get("/v1/streams", headers={"Authorization": f"Bearer {CANARY}"})
        await http.get("/v1/streams", headers={"Authorization": f"Basic {CANARY}"})
        await http.delete(f"/v1/streams/events/scheduled/{CANARY}")
        # A fault of the server, with what it read in its message; and one of Redis, which quotes what it was sent.
        await store.call("HSET", "broker:{events}:consumer:c", "metadata", CANARY)
        assert (await http.get(name)).status_code == 500
        await store.call("DEL", "broker:{records}:records")
        await store.call("SET", "broker:{records}:records", CANARY)
        await http.post("/v1/streams/records/messages", json={"messages": [record("a", CANARY)]})
    await tokens.close()
    assert len(lines.rows["text"]) > 25
    for rows in lines.rows.values():
        for row in rows:
            assert not [secret for secret in secrets if secret in row.replace(CANARY.upper(), CANARY)], row
    assert any("fault=" in row and "consumers.py" in row for row in lines.rows["text"]), "a fault's line says where it was"


def test_c64_a_record_is_one_line_whatever_is_in_it(lines: Lines) -> None:
    logs.note(logging.getLogger("broker"), logging.INFO, "two\nlines", who="a b", what='say "x"', none=None, where="a=b", plain="x-1")
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as exc:
            raise RuntimeError(CANARY) from exc
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    one, other = lines.rows["text"]
    assert one.endswith(r'Z INFO two lines who="a b" what="say \"x\"" where="a=b" plain=x-1')
    fault = r'fault="builtins.RuntimeError at .*test_logs.py:\d+ .*; after builtins.KeyError at '
    assert re.search(rf"Z ERROR Exception in ASGI application  {fault}", other)
    assert CANARY not in other
    first, second = map(json.loads, lines.rows["json"])
    assert {name: first[name] for name in ("level", "logger", "who", "what")} == {
        "level": "info", "logger": "broker", "who": "a b", "what": 'say "x"',
    }  # fmt: skip
    assert (second["logger"], second["level"]) == ("uvicorn.error", "error")
