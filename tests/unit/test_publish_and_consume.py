"""`broker publish` and `broker consume`: files and pipes in, lines out."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import COMMAND, Cli, consumed, events, put

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
