"""The command `broker` as users run it: what it prints, and how it ends (C48)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import __version__
from tests.support.command_line import COMMAND, Cli, events

NOBODY = "http://127.0.0.1:1"


# stream and consumer


def test_streams_are_created_listed_shown_and_deleted(cli: Cli) -> None:
    created = cli.json("stream", "create", "life", "--kind", "events", "--max-messages", "9", "--metadata", '{"a":"é"}')
    assert (created["name"], created["kind"], created["max_messages"], created["metadata"]) == ("life", "events", 9, {"a": "é"})
    assert cli.json("stream", "create", "life", "--kind", "events", "--max-messages", "9", "--metadata", '{"a":"é"}') == created
    assert cli.refused("stream", "create", "life", "--kind", "records").startswith("STREAM_EXISTS: ")
    assert cli.json("stream", "show", "life") == created
    rows = [json.loads(line) for line in cli.ok("stream", "list").splitlines()]
    assert created in rows and {"records", "events"} < {row["name"] for row in rows}
    assert cli.json("consumer", "create", "life", "--stream", "life")["stream_id"] == "life"
    assert cli.refused("stream", "delete", "life").startswith("STREAM_IN_USE: ")
    assert cli.json("stream", "delete", "life", "--force") == {"id": "life", "deleted": True}
    assert cli.refused("stream", "show", "life").startswith("STREAM_NOT_FOUND: ")
    assert cli.refused("consumer", "show", "life").startswith("CONSUMER_NOT_FOUND: ")


def test_consumers_are_created_listed_shown_and_deleted(cli: Cli, stream: str) -> None:
    options = (
        "--stream", stream, "--filter", "provider=github", "--filter", "collection_id=a:*", "--filter", "collection_id=b=c",
        "--ack-wait-ms", "5000", "--max-deliver", "3", "--max-ack-pending", "7", "--max-waiting", "8", "--deliver-policy", "new",
        "--backoff-ms", "1,20", "--metadata", '{"team":"x"}',
    )  # fmt: skip
    created = cli.json("consumer", "create", "cons", *options)
    assert created["filters"] == {"provider": "github", "collection_id": ["a:*", "b=c"]}
    assert [created[k] for k in ("ack_wait_ms", "max_deliver", "max_ack_pending", "max_waiting")] == [5000, 3, 7, 8]
    assert (created["deliver_policy"], created["backoff_ms"], created["metadata"]) == ("new", [1, 20], {"team": "x"})
    assert cli.json("consumer", "create", "cons", *options) == created
    assert cli.refused("consumer", "create", "cons", "--stream", stream).startswith("CONSUMER_EXISTS: ")
    shown = cli.json("consumer", "show", "cons")
    assert created.items() <= shown.items() and shown["info"]["num_pending"] == 0
    rows = [json.loads(line) for line in cli.ok("consumer", "list", "--stream", stream).splitlines()]
    assert {row["name"] for row in rows} == {stream, "cons"}
    assert cli.ok("consumer", "list", "--stream", "records") == ""
    assert cli.json("consumer", "delete", "cons") == {"id": "cons", "deleted": True}
    assert cli.refused("consumer", "delete", "cons").startswith("CONSUMER_NOT_FOUND: ")


def test_a_consumer_without_a_name_gets_one(cli: Cli, stream: str) -> None:
    created = cli.json("consumer", "create", "--stream", stream)
    assert cli.json("consumer", "show", created["name"])["stream_id"] == stream


def test_lists_of_more_than_a_page_are_whole(cli: Cli, stream: str) -> None:
    names = {f"page-{n:03}" for n in range(250)}
    with httpx.Client(base_url=cli.url) as client:
        for name in names:
            client.post("/v1/http-consumers", json={"name": name, "stream_id": stream}).raise_for_status()
    rows = [json.loads(line)["name"] for line in cli.ok("consumer", "list", "--stream", stream).splitlines()]
    assert rows == sorted({*names, stream})


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("stream", "create", "a b"), "name"),
        (("stream", "create", "x", "--max-messages", "5"), "max_messages"),
        (("stream", "create", "x", "--kind", "events", "--max-age-ms", "1"), "max_age_ms"),
        (("consumer", "create", "x", "--stream", "nostream"), "stream_id"),
        (("consumer", "create", "x", "--filter", "color=red"), "filters.color"),
        (("consumer", "create", "x", "--filter", "provider="), "filters.provider"),
        (("consumer", "create", "x", "--deliver-policy", "soon"), "deliver_policy"),
        (("consumer", "create", "x", "--ack-wait-ms", "1"), "ack_wait_ms"),
    ],
)
def test_what_the_server_refuses_is_one_line_that_names_the_field(cli: Cli, args: tuple[str, ...], named: str) -> None:
    assert cli.refused(*args).startswith(f"VALIDATION_FAILED: {named}: ")


# check, demo, help, wrong usage, no server


def test_check_tells_what_redis_promises(cli: Cli, data_dir: Path) -> None:
    printed = cli.ok("check", "--data-dir", str(data_dir))
    assert [line.split()[0] for line in printed.splitlines()] == ["server", "persistence", "eviction", "memory", "replicas", "store"]
    assert printed.endswith(f" --data-dir {data_dir.resolve()}\n")
    assert "everysec" in printed and "noeviction" in printed
    by_url = cli.ok("check", "--redis", f"unix://{data_dir.resolve()}/valkey.sock")
    assert by_url.splitlines()[:3] == printed.splitlines()[:3]


def test_check_starts_the_embedded_redis_for_the_while(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh = tmp_path_factory.mktemp("d") / "data"
    first = cli.run("check", "--data-dir", str(fresh))
    assert (first.returncode, first.stderr.decode()) == (0, f"warning: A new store was made in {fresh}.\n")
    assert not (fresh / "valkey.sock").exists()
    assert cli.ok("check", "--data-dir", str(fresh)).startswith("server ")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///no/such.sock", "rediss://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/s"])
@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_redis_that_is_not_there_is_one_short_line_with_the_cause(cli: Cli, command: str, url: str) -> None:
    line = cli.refused(command, "--redis", url)
    assert line.startswith(f"STORE_UNAVAILABLE: --redis {url}: Redis cannot be reached; nothing happened. ")
    assert "Error 111" in line or "Error 2 " in line or line.endswith(" No sentinel answers and names a primary of 's'.")
    assert len(line) < 300


@pytest.mark.parametrize("url", ["http://host", "redis://", "redis://127.0.0.1:1/?socket_timeout=soon", "redis://127.0.0.1:1/?color=red"])
def test_check_with_a_wrong_url(cli: Cli, url: str) -> None:
    assert "--redis" in cli.refused("check", "--redis", url, status=2)


def test_the_demo_ends_well_and_shows_a_dead_letter(cli: Cli) -> None:
    printed = cli.ok("demo")
    assert '30 customers -> {"created":30}' in printed
    assert 'max_deliver after 3 deliveries, data {"number":1}' in printed


@pytest.mark.parametrize(
    "args",
    [
        ("--help",), ("serve", "--help"), ("publish", "--help"), ("consume", "--help"), ("check", "--help"), ("demo", "--help"),
        *((group, action, "--help") for group in ("stream", "consumer") for action in ("create", "list", "show", "delete")),
        *(("token", action, "--help") for action in ("create", "list", "revoke")),
    ],
)  # fmt: skip
def test_help(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli.ok(*args).startswith(" ".join(("Usage: broker", *args[:-1])))


def test_version(cli: Cli) -> None:
    assert cli.ok("--version") == f"broker {__version__}\n"


@pytest.mark.parametrize(
    ("args", "unneeded"),
    [
        (("--version",), {"broker", "redis", "httpx", "msgspec", "starlette", "uvicorn"}),
        (("--help",), {"broker", "redis", "httpx", "msgspec", "starlette", "uvicorn"}),
        (("serve", "--help"), {"starlette", "uvicorn"}),
        (("stream", "list", "--url", NOBODY), {"starlette", "uvicorn"}),
    ],
)
def test_a_command_imports_only_what_it_needs(args: tuple[str, ...], unneeded: set[str]) -> None:
    code = "import sys; from http_api.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, timeout=60, text=True)
    assert unneeded & {*done.stderr.splitlines()[-1].split()} == set()


@pytest.mark.parametrize(
    "args",
    [
        (), ("fly",), ("stream",), ("stream", "fly"), ("stream", "show"), ("stream", "show", "a b"), ("stream", "list", "extra"),
        ("stream", "create", "x", "--kind", "queue"), ("stream", "create", "x", "--max-messages", "many"),
        ("stream", "create", "x", "--metadata", "["), ("stream", "create", "x", "--metadata", "[]"), ("publish", "events"),
        ("publish", "a/b", "-"), ("consume",), ("consume", "a/b"), ("consume", "c", "--noack"),
        ("consumer", "create", "x", "--filter", "p"), ("consumer", "create", "x", "--backoff-ms", "1,b"),
        ("consumer", "create", "x", "--ordering", "time"), ("check", "--redis"),
        ("token", "create"), ("demo", "now"), ("--loud",),
    ],
)  # fmt: skip
def test_wrong_usage(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli.refused(*args, status=2).endswith(" --help")


COMMANDS_OF_A_CLIENT = [
    ("publish", "events", "-"), ("consume", "c"), ("stream", "list"), ("stream", "show", "s"), ("stream", "create", "s"),
    ("stream", "delete", "s"), ("consumer", "list"), ("consumer", "show", "c"), ("consumer", "create", "c"), ("consumer", "delete", "c"),
]  # fmt: skip


@pytest.mark.parametrize("args", COMMANDS_OF_A_CLIENT)
def test_no_server_is_one_line(cli: Cli, args: tuple[str, ...]) -> None:
    assert NOBODY in cli.refused(*args, "--url", NOBODY, stdin=events([1])[0])


WRONG_URLS = ["host:80", "ftp://host", "http://", "http://[::1", "http://host:port", "http://a b", "foo"]


@pytest.mark.parametrize("url", ["", *WRONG_URLS])
def test_c48_a_url_that_is_none_is_wrong_usage_in_one_line(cli: Cli, url: str) -> None:
    assert cli.refused("stream", "list", "--url", url, status=2).startswith("--url: ")


def test_c48_a_wrong_url_of_the_environment_is_named() -> None:
    assert Cli("foo").refused("stream", "list", status=2).startswith("BROKER_URL: ")


@pytest.mark.parametrize("token", ["é", "a\nb", "a b"])
def test_c48_a_token_that_cannot_be_sent_is_wrong_usage_in_one_line(cli: Cli, token: str) -> None:
    assert cli.refused("stream", "list", "--token", token, status=2).startswith("--token: ")
    other = Cli(cli.url)
    other.environ["BROKER_TOKEN"] = token
    assert other.refused("stream", "list", status=2).startswith("BROKER_TOKEN: ")


COMMANDS_THAT_PRINT = [
    ("stream", "list"), ("stream", "show", "events"), ("consumer", "list"), ("publish", "events", "-"), ("check",),
    ("demo",), ("consume", "printed"), ("consumer", "peek", "printed"),
]  # fmt: skip


@pytest.fixture
def printed(cli: Cli) -> None:
    """A consumer with a message."""
    cli.run("consumer", "create", "printed", "--stream", "events")
    cli.run("publish", "events", "-", stdin=events([1])[0])


@pytest.mark.usefixtures("printed")
@pytest.mark.parametrize("args", COMMANDS_THAT_PRINT)
def test_c48_a_closed_pipe_ends_a_command_in_silence(cli: Cli, data_dir: Path, args: tuple[str, ...]) -> None:
    options = ("--data-dir", str(data_dir)) if args == ("check",) else ()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *args, *options], input=b"", stdout=writer, stderr=subprocess.PIPE, timeout=60, env=cli.environ)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.usefixtures("printed")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("args", COMMANDS_THAT_PRINT)
def test_c48_a_full_disk_is_one_line(cli: Cli, data_dir: Path, args: tuple[str, ...]) -> None:
    options = ("--data-dir", str(data_dir)) if args == ("check",) else ()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, *args, *options], input=b"", stdout=full, stderr=subprocess.PIPE, timeout=60, env=cli.environ)
    assert (done.returncode, done.stderr) == (1, b"broker: No space left on device\n")


def test_c48_a_closed_standard_output_is_one_line_and_nothing_is_done(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=events([1])[0])
    shell = ["sh", "-c", '"$@" >&-', "sh", *COMMAND]
    for args in (("stream", "list"), ("stream", "delete", stream, "--force"), ("consume", stream)):
        done = subprocess.run([*shell, *args], capture_output=True, timeout=60, env=cli.environ)
        assert (done.returncode, done.stderr) == (1, b"broker: standard output is closed\n")
    assert cli.json("consumer", "show", stream)["info"]["num_pending"] == 1


def test_c48_a_server_needs_no_standard_streams_but_for_its_messages(data_dir: Path) -> None:
    own = data_dir.parent / "own"
    command = ["sh", "-c", 'exec "$@" >&- <&-', "sh", *COMMAND, "serve", "--port", "0", "--data-dir", str(own)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        try:
            assert httpx.get(url + "/health/live", timeout=30).status_code == 200
        finally:
            process.terminate()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_c48_a_closed_standard_input_is_one_line(cli: Cli) -> None:
    shell = ["sh", "-c", '"$@" <&-', "sh", *COMMAND]
    done = subprocess.run([*shell, "publish", "events", "-"], capture_output=True, timeout=60, env=cli.environ)
    assert (done.returncode, done.stderr) == (1, b"broker: standard input is closed\n")


def test_an_operator_looks_into_a_consumer_and_puts_dead_letters_back(cli: Cli, stream: str) -> None:
    def told(*args: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in cli.ok(*args).splitlines()]

    consumer = f"{stream[:50]}operated"
    told("consumer", "create", consumer, "--stream", stream, "--max-deliver", "1")
    cli.ok("publish", stream, "-", stdin=b"\n".join(events([1, 2])))
    assert [row["event"]["data"] for row in told("consumer", "peek", consumer, "--limit", "1")] == [1]
    path = f"{cli.url}/v1/http-consumers/{consumer}"
    held = httpx.get(path + "/next", params={"batch_size": 2}).json()["data"]
    assert [row["id"] for row in told("consumer", "pending", consumer)] == [row["id"] for row in held]
    httpx.post(path + "/nack", json={"ack_tokens": [row["ack_token"] for row in held]})
    assert [row["reason"] for row in told("dead-letters", "list", consumer)] == ["max_deliver"] * 2
    assert told("dead-letters", "redrive", consumer, "--dry-run") == [{"would_be_redriven": 2, "would_be_gone": 0}]
    assert told("dead-letters", "redrive", consumer, "--id", held[0]["id"]) == [{"redriven": 1, "gone": 0}]
    assert told("dead-letters", "purge", consumer, "--all") == [{"purged": 1}]
    assert told("consumer", "pause", consumer)[0]["paused"] is True
    assert "paused" not in told("consumer", "resume", consumer)[0]
    assert told("consumer", "reset", consumer, "--yes", "--deliver-policy", "last")[0]["info"]["num_pending"] == 1
