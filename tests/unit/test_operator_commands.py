"""What an operator sees and changes with the command `broker`, on a terminal and in a pipe (C48)."""

import json
import os
import pty
import subprocess
from typing import Any

import httpx
import pytest

from tests.support.command_line import COMMAND, Cli, events


def on_a_terminal(cli: Cli, *args: str, answer: str = "") -> tuple[int, list[str]]:
    """Status, and the lines that a command shows on a terminal whose user types `answer`."""
    mine, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=cli.environ) as process:
        os.close(theirs)
        os.write(mine, answer.encode())
        shown = b""
        try:
            while part := os.read(mine, 1 << 16):
                shown += part
        except OSError:
            pass  # Linux says so that nobody has the other end any more
        status = process.wait(30)
    os.close(mine)
    return status, shown.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def worked(cli: Cli, stream: str) -> str:
    """A stream of three events and a consumer with one out, one dead and one pending; it starts at the second."""
    cli.ok("publish", stream, "-", stdin=b"\n".join(events([1, 2, 3])))
    path = f"{cli.url}/v1/http-consumers/{stream}"
    httpx.delete(path).raise_for_status()
    spec = {"name": stream, "stream_id": stream, "deliver_policy": "1h"}
    httpx.post(f"{cli.url}/v1/http-consumers", json=spec).raise_for_status()
    _, dying = httpx.get(path + "/next", params={"batch_size": 2}).json()["data"]
    httpx.post(path + "/nack", json={"nacks": [{"ack_token": dying["ack_token"], "outcome": "reject"}]}).raise_for_status()
    return stream


def test_lists_show_counts_under_words(cli: Cli, worked: str) -> None:
    status, lines = on_a_terminal(cli, "consumer", "list", "--stream", worked)
    assert (status, len(lines)) == (0, 2)
    assert lines[0].split()[:7] == ["name", "stream", "pending", "out", "retrying", "dead", "oldest"]
    assert lines[1].split()[:6] == [worked, worked, "1", "1", "0", "1"]
    assert json.loads(cli.ok("consumer", "list", "--stream", worked))["info"]["num_dead"] == 1

    status, lines = on_a_terminal(cli, "stream", "list")
    assert lines[0].split() == ["name", "kind", "messages", "bytes", "consumers", "created"]
    (row,) = (line.split() for line in lines if line.startswith(worked + " "))
    assert (row[1], row[2], row[4]) == ("events", "3", "1")


COMMANDS_WITH_TABLES = [
    "stream list", "consumer list", "consumer pending", "consumer peek", "dead-letters list", "stream messages",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS_WITH_TABLES)
def test_headings_are_words(cli: Cli, worked: str, command: str) -> None:
    args = () if command.endswith("list") and "dead" not in command else (worked,)
    status, lines = on_a_terminal(cli, *command.split(), *args)
    assert status == 0
    assert not {"_", "."} & set(lines[0])


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1)])
def test_reset_says_what_it_forgets_and_asks(cli: Cli, worked: str, answer: str, status: int) -> None:
    found, lines = on_a_terminal(cli, "consumer", "reset", worked, answer=answer)
    said = " ".join(lines)
    assert found == status
    assert f"{worked} will start again from 1h, and forget 1 messages that are out, 1 dead letters" in said
    info = cli.json("consumer", "show", worked)["info"]
    assert (info["num_pending"], info["num_ack_pending"], info["num_dead"]) == ((3, 0, 0) if status == 0 else (1, 1, 1))


def test_reset_keeps_the_policy_of_the_consumer_unless_told(cli: Cli, worked: str) -> None:
    assert cli.refused("consumer", "reset", worked, status=2).endswith("there is no terminal to ask; say --yes.")
    assert cli.json("consumer", "reset", worked, "--yes")["deliver_policy"] == "1h"
    assert cli.json("consumer", "reset", worked, "--yes", "--deliver-policy", "new")["deliver_policy"] == "new"


def test_streams_and_consumers_are_changed(cli: Cli, stream: str) -> None:
    changed = cli.json("stream", "update", stream, "--max-messages", "7", "--dedupe-window-ms", "0", "--metadata", '{"a":1}')
    assert (changed["max_messages"], changed["dedupe_window_ms"], changed["metadata"]) == (7, 0, {"a": 1})
    assert cli.json("stream", "update", stream, "--max-messages", "none")["max_messages"] is None
    assert cli.refused("stream", "update", stream, "--max-age-ms", "1").startswith("VALIDATION_FAILED: max_age_ms: ")
    assert "nothing to change" in cli.refused("stream", "update", stream, status=2)
    changed = cli.json("consumer", "update", stream, "--ack-wait-ms", "5000", "--backoff-ms", "1,2", "--max-deliver", "9")
    assert (changed["ack_wait_ms"], changed["backoff_ms"], changed["max_deliver"]) == (5000, [1, 2], 9)
    assert "nothing to change" in cli.refused("consumer", "update", stream, status=2)


def test_messages_of_a_stream_are_printed(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=b"\n".join(events(range(1200))))

    def rows(*options: str) -> list[Any]:
        return [json.loads(line) for line in cli.ok("stream", "messages", stream, *options).splitlines()]

    assert [row["event"]["data"] for row in rows()] == list(range(100))
    everything = rows("--limit", "5000")
    assert [row["event"]["data"] for row in everything] == list(range(1200))
    after = rows("--after", everything[1099]["id"], "--limit", "2")
    assert [row["event"]["data"] for row in after] == [1100, 1101]
    assert rows("--collection-id", "none") == []


@pytest.mark.parametrize("record_id", ["plain", "a/b c?d#e", "..", "ü%2F"])
def test_a_record_is_printed(cli: Cli, record_id: str) -> None:
    message = {"collection_id": "a:b", "id": record_id, "data": {"n": 1}}
    cli.ok("publish", "records", "-", stdin=json.dumps(message).encode())
    assert cli.json("record", "records", record_id)["id"] == record_id
    assert cli.refused("record", "records", "none") == "RECORD_NOT_FOUND: The stream 'records' holds no record 'none'."


def test_deliveries_are_printed_whole(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=events([1])[0])
    for deliver_count in (1, 2):
        shown = cli.json("consume", stream, "--deliveries", "--no-ack")
        assert shown.keys() == {"id", "ack_token", "deliver_count", "event"}
        assert (shown["deliver_count"], shown["event"]["data"]) == (deliver_count, 1)
        nack = {"ack_tokens": [shown["ack_token"]]}
        assert httpx.post(f"{cli.url}/v1/http-consumers/{stream}/nack", json=nack).json()["nacked"] == 1
