"""The command `broker` as users run it: what it prints, and how it ends (C48)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.processes import ServeProcess, serving

COMMAND = [sys.executable, "-m", "http_api.command_line"]
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d") / "data"


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[ServeProcess]:
    """One server for all tests here: each uses names of its own."""
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        yield server


class Cli:
    """Runs commands against a server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("BROKER_")} | {"BROKER_URL": url}

    def run(self, *args: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; whatever it does, it shows no traceback."""
        done = subprocess.run([*COMMAND, *args], input=stdin, capture_output=True, timeout=120, env=self.environ | environ)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    def ok(self, *args: str, stdin: bytes = b"") -> str:
        """What a command prints that ends well."""
        done = self.run(*args, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def json(self, *args: str) -> Any:
        """The one object that a command prints on one line."""
        (line,) = self.ok(*args).splitlines()
        return json.loads(line)

    def refused(self, *args: str, stdin: bytes = b"", status: int = 1) -> str:
        """The one line on standard error of a command that is refused."""
        done = self.run(*args, stdin=stdin)
        assert (done.returncode, done.stderr.count(b"\n")) == (status, 1), done.stderr.decode()
        line = done.stderr.decode()
        assert line.startswith("broker: ")
        return line.removeprefix("broker: ").rstrip("\n")

    def messages(self, stream: str) -> int:
        """How many messages a stream holds."""
        return int(self.json("stream", "show", stream)["info"]["messages"])


@pytest.fixture(scope="module")
def cli(server: ServeProcess) -> Cli:
    """The command line at the server."""
    return Cli(server.url)


@pytest.fixture
def stream(cli: Cli, request: pytest.FixtureRequest) -> Iterator[str]:
    """An event stream of the test's own, with a consumer of the same name."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[-64:]
    httpx.post(cli.url + "/v1/streams", json={"name": name, "kind": "events"}).raise_for_status()
    httpx.post(cli.url + "/v1/http-consumers", json={"name": name, "stream_id": name}).raise_for_status()
    yield name
    httpx.delete(cli.url + f"/v1/streams/{name}", params={"force": "true"}).raise_for_status()


def events(numbers: Sequence[int]) -> list[bytes]:
    """One event a number, as JSON without line ends."""
    return [b'{"collection_id":"a:b","data":%d}' % n for n in numbers]


def put(path: Path, lines: Sequence[bytes], end: bytes = b"\n") -> str:
    """Write lines to a file; gives its name."""
    path.write_bytes(end.join(lines))
    return str(path)


def consumed(cli: Cli, consumer: str, *options: str) -> list[Any]:
    """The data of the messages that `consume` prints."""
    return [json.loads(line)["data"] for line in cli.ok("consume", consumer, *options).split("\n")[:-1]]


# publish


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b" \n\t\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_publish_lines(cli: Cli, stream: str, tmp_path: Path, end: bytes, last: bytes) -> None:
    name = put(tmp_path / "f", [end.join(events(range(5))) + last])
    assert cli.ok("publish", stream, name) == "5 messages: 5 created\n"
    assert consumed(cli, stream) == list(range(5))


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("before", ["", "\n\n  "])
def test_publish_a_list(cli: Cli, stream: str, tmp_path: Path, indent: int | None, before: str) -> None:
    messages = [{"collection_id": "a:b", "data": {"n": n, "text": "a\nb]"}} for n in range(5)]
    name = put(tmp_path / "f", [(before + json.dumps(messages, indent=indent)).encode()])
    assert cli.ok("publish", stream, name) == "5 messages: 5 created\n"
    assert consumed(cli, stream) == [m["data"] for m in messages]


@pytest.mark.parametrize("text", [b"\n".join(events(range(3))), b"[" + b",".join(events(range(3))) + b"]\n"])
def test_publish_standard_input(cli: Cli, stream: str, text: bytes) -> None:
    assert cli.ok("publish", stream, "-", stdin=text) == "3 messages: 3 created\n"
    assert consumed(cli, stream) == [0, 1, 2]


@pytest.mark.parametrize("text", [b"", b"\n", b"  \n\n", b"[]", b"\n[ ]\n"])
def test_publish_nothing(cli: Cli, stream: str, text: bytes) -> None:
    assert cli.ok("publish", stream, "-", stdin=text) == "0 messages: nothing to publish\n"


def test_publish_tells_what_became_of_the_messages(cli: Cli, tmp_path: Path) -> None:
    record = b'{"collection_id":"a:b","id":"%s-%d","data":%d}'
    mine = tmp_path.name.encode()
    name = put(tmp_path / "f", [record % (mine, 0, 0), record % (mine, 1, 1), record % (mine, 0, 5), record % (mine, 1, 1)])
    assert cli.ok("publish", "records", name).startswith("4 messages: ")
    assert cli.ok("publish", "records", put(tmp_path / "g", [record % (mine, 0, 5), record % (mine, 1, 7)])) == (
        "2 messages: 1 unchanged, 1 updated\n"
    )


@pytest.mark.parametrize("form", ["lines", "list"])
def test_publish_a_long_file_in_order(cli: Cli, stream: str, form: str) -> None:
    lines = events(range(3210))
    text = b"\n".join(lines) if form == "lines" else b"[" + b",\n".join(lines) + b"]"
    assert cli.ok("publish", stream, "-", stdin=text) == "3210 messages: 3210 created\n"
    assert consumed(cli, stream) == list(range(3210))


BAD = [b'{"data":1}', b"{", b"7", b'{"collection_id":"a:b","data":1,"color":2}', b'{"collection_id":"a:b","data":\xff}', b"{}]"]


@pytest.mark.parametrize("number", [1, 2, 500, 501, 1000, 1001, 1002, 2001, 2345])
def test_publish_names_a_bad_line_by_its_number_in_the_file(cli: Cli, stream: str, tmp_path: Path, number: int) -> None:
    lines = events(range(2400))
    lines[number - 1] = BAD[number % len(BAD)]
    line = cli.refused("publish", stream, put(tmp_path / "f", lines))
    assert f"line[{number}]" in line
    assert (f"{number - 1} messages before it are stored" in line) or (number == 2 and "1 message before it is stored" in line)
    assert cli.messages(stream) == number - 1


@pytest.mark.parametrize(("before", "within"), [(3, 0), (0, 3), (3, 3), (1500, 0), (0, 1500)])
def test_blank_lines_count_as_lines_of_the_file(cli: Cli, stream: str, tmp_path: Path, before: int, within: int) -> None:
    lines = [b""] * before + events([1]) + [b""] * within + events([2]) + [b"{"]
    assert f"line[{len(lines)}]" in cli.refused("publish", stream, put(tmp_path / "f", lines))
    assert consumed(cli, stream) == [1, 2]


@pytest.mark.parametrize("number", [0, 999, 1000, 2345])
def test_publish_names_a_bad_message_of_a_list_by_its_place(cli: Cli, stream: str, number: int) -> None:
    items = events(range(2400))
    items[number] = b'{"data":1}'
    line = cli.refused("publish", stream, "-", stdin=b"[" + b",".join(items) + b"]")
    assert f"messages[{number}].collection_id" in line
    assert cli.messages(stream) == number // 1000 * 1000


@pytest.mark.parametrize("text", [b"[", b"[{]", b"[1,2", b"[] []", b'[{"collection_id":"a:b","data":\xff}]'])
def test_publish_what_is_no_list(cli: Cli, stream: str, text: bytes) -> None:
    assert cli.refused("publish", stream, "-", stdin=text)
    assert cli.messages(stream) == 0


def test_publish_a_line_that_is_too_long(cli: Cli, stream: str) -> None:
    lines = [*events([1]), b'{"collection_id":"a:b","data":"' + b"x" * (2 << 20) + b'"}', *events([2])]
    line = cli.refused("publish", stream, "-", stdin=b"\n".join(lines))
    assert line.startswith("PAYLOAD_TOO_LARGE: ") and "line[2]" in line
    assert cli.messages(stream) == 1


def test_publish_to_no_stream_or_from_no_file(cli: Cli, stream: str, tmp_path: Path) -> None:
    assert cli.refused("publish", "nostream", "-", stdin=events([1])[0]).startswith("STREAM_NOT_FOUND: ")
    for name in (tmp_path / "none", tmp_path):
        assert str(name) in cli.refused("publish", stream, str(name))


# consume


def test_consume_acks_what_it_prints(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=b"\n".join(events(range(250))))
    assert consumed(cli, stream) == list(range(250))
    info = cli.json("consumer", "show", stream)["info"]
    assert (info["num_pending"], info["num_ack_pending"]) == (0, 0)
    assert cli.ok("consume", stream) == ""


def test_consume_without_ack_leaves_the_messages(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=b"\n".join(events(range(250))))
    assert consumed(cli, stream, "--no-ack") == list(range(250))
    info = cli.json("consumer", "show", stream)["info"]
    assert (info["num_pending"], info["num_ack_pending"]) == (0, 250)


DATA = [
    b'{"z":1.50 , "a":-0, "b" : 1E400,"a":"\\u00e9\\/\xc3\xa9"}',
    b"12345678901234567890123456789.0",
    b'[ ]',
    b'"line\\nend\\u2028\xe2\x80\xa8"',
    b"null",
]  # fmt: skip


@pytest.mark.parametrize("text", [b'{"collection_id":"a:b","data":1}\n', b'[{"collection_id":"a:b","data":1}]'])
def test_publish_passes_over_a_byte_order_mark(cli: Cli, stream: str, text: bytes) -> None:
    assert cli.ok("publish", stream, "-", stdin=b"\xef\xbb\xbf" + text) == "1 messages: 1 created\n"


def test_publish_of_nothing_to_no_stream_is_refused(cli: Cli, stream: str) -> None:
    assert cli.refused("publish", "nosuch", os.devnull).startswith("STREAM_NOT_FOUND: ")
    assert cli.refused("publish", "nosuch", "-", stdin=b"[]").startswith("STREAM_NOT_FOUND: ")
    assert cli.ok("publish", stream, os.devnull) == "0 messages: nothing to publish\n"


def test_consume_prints_data_as_it_was_published(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=b"\n".join(b'{"collection_id":"a:b","data":%s}' % data for data in DATA))
    lines = cli.run("consume", stream, "--no-ack").stdout.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == len(DATA)
    for line, data in zip(lines, DATA, strict=True):
        assert line.rstrip().endswith(b'"data":' + data + b"}")


def test_consume_prints_one_line_a_message_even_where_data_holds_line_ends(cli: Cli, stream: str) -> None:
    data = b'{\n  "n" : 1.50,\r\n  "text": "a\\nb  c"\n}'
    cli.ok("publish", stream, "-", stdin=b'[{"collection_id":"a:b","data":%s},\n%s]' % (data, events([2])[0]))
    lines = cli.run("consume", stream).stdout.split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["data"] for line in lines] == [{"n": 1.5, "text": "a\nb  c"}, 2]
    assert b"1.50" in lines[0] and b'"a\\nb  c"' in lines[0]


def test_consume_into_a_closed_pipe_ends_in_silence(cli: Cli, stream: str) -> None:
    cli.ok("publish", stream, "-", stdin=b"\n".join(b'{"collection_id":"a:b","data":"%s"}' % (b"x" * 2000) for _ in range(300)))
    with subprocess.Popen([*COMMAND, "consume", stream], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["data"] == "x" * 2000
        process.stdout.close()
        assert process.stderr.read() == b""
    assert cli.json("consumer", "show", stream)["info"]["num_ack_pending"] > 0


def test_consume_of_no_consumer(cli: Cli) -> None:
    assert cli.refused("consume", "nobody").startswith("CONSUMER_NOT_FOUND: ")


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
    assert [line.split()[0] for line in printed.splitlines()] == ["server", "persistence", "eviction", "memory", "replicas"]
    assert "everysec" in printed and "noeviction" in printed
    by_url = cli.ok("check", "--redis", f"unix://{data_dir.resolve()}/valkey.sock")
    assert by_url.splitlines()[:3] == printed.splitlines()[:3]


def test_check_starts_the_embedded_redis_for_the_while(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh = tmp_path_factory.mktemp("d") / "data"
    assert cli.ok("check", "--data-dir", str(fresh)).startswith("server ")
    assert not (fresh / "valkey.sock").exists()
    assert cli.ok("check", "--data-dir", str(fresh)).startswith("server ")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///no/such.sock", "rediss://127.0.0.1:1"])
def test_check_without_a_redis(cli: Cli, url: str) -> None:
    assert cli.refused("check", "--redis", url).startswith("STORE_UNAVAILABLE: ")


@pytest.mark.parametrize("url", ["http://host", "redis://", "redis://127.0.0.1:1/?socket_timeout=soon", "redis://127.0.0.1:1/?color=red"])
def test_check_with_a_wrong_url(cli: Cli, url: str) -> None:
    assert "--redis" in cli.refused("check", "--redis", url, status=2)


def test_the_demo_ends_well_and_shows_a_dead_letter(cli: Cli) -> None:
    printed = cli.ok("demo")
    assert "dead letter" in printed
    assert "max_deliver" in printed


@pytest.mark.parametrize(
    "args",
    [
        ("--help",), ("serve", "--help"), ("publish", "--help"), ("consume", "--help"), ("check", "--help"), ("demo", "--help"),
        *((group, action, "--help") for group in ("stream", "consumer") for action in ("create", "list", "show", "delete")),
        *(("token", action, "--help") for action in ("create", "list", "revoke")),
    ],
)  # fmt: skip
def test_help(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli.ok(*args).startswith("usage: broker")


def test_version(cli: Cli) -> None:
    assert cli.ok("--version").startswith("broker ")


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
    assert told("dead-letters", "redrive", consumer, "--dry-run") == [{"redriven": 2, "gone": 0}]
    assert told("dead-letters", "redrive", consumer, "--id", held[0]["id"]) == [{"redriven": 1, "gone": 0}]
    assert told("dead-letters", "purge", consumer, "--all") == [{"purged": 1}]
    assert told("consumer", "pause", consumer)[0]["paused"] is True
    assert "paused" not in told("consumer", "resume", consumer)[0]
    assert told("consumer", "reset", consumer, "--deliver-policy", "last")[0]["info"]["num_pending"] == 1
