"""The page `lua/README.md`, executed: its lines run on real servers, and answer what the page says."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from broker import Broker, Store
from broker.commands.functions import function_name
from broker.commands.scripts import names
from broker.store.embedded import Embedded
from tests.support.functions import load_library
from tests.support.page import Line, flat, is_as_told, lines, taking, told
from tests.support.servers import BACKENDS, running

EVENT = '{"collection_id":"github:issues","key":"9","id":"evt-9","provider":"github","data":{"number":9}}'
PUBLISH = ("FCALL", "broker_v1_publish_events", "1", "broker:{demo}", "", "github:issues", "", "ruceabh", EVENT, "", "")
LINES = lines("FCALL")


@pytest.fixture(scope="module", params=BACKENDS)
def server(request: pytest.FixtureRequest) -> Iterator[Embedded]:
    """A server with the library that users get."""
    with running(request.param) as server:
        load_library(server.url)
        yield server


@pytest.fixture
def client(server: Embedded) -> Iterator[redis.Redis]:
    """A client of an empty database."""
    with redis.Redis.from_url(server.url, protocol=2) as client:
        client.flushall()
        yield client


class Reader:
    """Types the page's lines, and has a delivery at hand where a line is about one."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.variables: dict[str, str] = {}

    def call(self, *arguments: str) -> Any:
        """The reply, as Redis gives it."""
        pool = self.client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command(*arguments)  # type: ignore[no-untyped-call]
            return connection.read_response()
        finally:
            pool.release(connection)

    def type(self, line: Line) -> Any:
        if line.about_a_delivery:
            self.call(*PUBLISH)
            _, take, places = taking()
            reply = flat(self.call(*take.arguments({})))
            self.variables = {name: reply[place] for name, place in places.items()}
        return self.call(*line.arguments(self.variables))


def test_the_page_has_a_line_for_every_command() -> None:
    called = {line.arguments({})[1] for line in lines("FCALL")}
    assert called == {function_name(command) for command in names()}


def test_the_lines_of_the_page_answer_what_it_says(client: redis.Redis) -> None:
    reader = Reader(client)
    wrong = []
    for line in LINES:
        assert line.reply is not None, f"the page tells no reply of {line.text}"
        reply = reader.type(line)
        if not is_as_told(reply, told(line.reply)):
            wrong.append((line.text, line.reply, reply))
    assert wrong == []


def test_a_reader_of_the_page_waits(client: redis.Redis) -> None:
    reader = Reader(client)
    create = next(line for line in LINES if "stream_create" in line.text and "{demo}" in line.text)
    reader.type(create)
    reader.call(*PUBLISH)
    (wait,) = lines("XREAD")
    assert flat(reader.type(wait))[:1] == ["broker:{demo}:log"]


@pytest.mark.anyio
async def test_what_the_page_publishes_is_what_the_library_would(client: redis.Redis, server: Embedded) -> None:
    reader = Reader(client)
    for line in LINES:
        if re.search(r"_(stream_create|publish_\w+) ", line.text):
            reader.type(line)
    async with Broker(Store.from_url(server.url)) as broker:
        record = {"collection_id": "stripe:customers", "id": "cus_1", "data": {"plan": "free"}}
        event = {"collection_id": "github:issues", "id": "evt-1", "key": "7", "data": {"number": 7}}
        assert [row.status for row in await broker.publish("crm", [record])] == ["unchanged"]
        assert [row.status for row in await broker.publish("demo", [event])] == ["duplicate"]
        await broker.publish("crm", [record | {"id": "cus_2"}])
        await broker.publish("demo", [event | {"id": "evt-3"}])
        for stream in ("crm", "demo"):
            ours, theirs = (_without_its_own(row.json) for row in (await broker.streams.messages(stream))[0])
            assert ours == theirs


def _without_its_own(message: Any) -> bytes:
    return re.sub(rb'"(updated_idx|inserted_at|id)":("[^"]*"|\d+),', b"", bytes(message))


@pytest.mark.skipif(not (shutil.which("redis-cli") and shutil.which("bash")), reason="redis-cli or bash is not installed")
def test_the_lines_of_the_page_run_in_a_shell(server: Embedded, client: redis.Redis) -> None:
    take, _, _ = taking()
    publish = "redis-cli " + " ".join(f"'{word}'" for word in PUBLISH)
    script = ["set -e", f"redis-cli() {{ command redis-cli -e -s '{server.socket}' \"$@\"; }}"]
    for line in LINES:
        script += [publish, take] if line.about_a_delivery else []
        script += [line.text if line.reply is None else f"{line.text}\n# → {line.reply}"]
    done = subprocess.run(["bash"], input="\n".join(script), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.splitlines()[-2:] == ["OK", ""]  # the consumer is deleted, and the stream, which had no other
