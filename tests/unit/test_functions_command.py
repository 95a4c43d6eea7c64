"""`broker functions` as users run it (C48)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from broker.commands.functions import LIBRARY, digest_of, library
from broker.store.embedded import Embedded
from tests.support.command_line import COMMAND, Cli
from tests.support.servers import running

HERE = digest_of(library())
CLI = Cli("http://127.0.0.1:1")  # no server is asked


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    """A server of the tests here."""
    with running("valkey") as server:
        yield server


@pytest.fixture
def client(server: Embedded) -> Iterator[redis.Redis]:
    """A client of the server, which has no functions."""
    with redis.Redis.from_url(server.url) as client:
        client.function_flush()
        yield client


def check(url: str) -> tuple[int, str]:
    """Status and the one line of `check`."""
    done = CLI.run("functions", "check", "--redis", url)
    assert done.stderr == b""
    (line,) = done.stdout.decode().splitlines()
    return done.returncode, line


def test_print_gives_the_text() -> None:
    assert CLI.run("functions", "print").stdout == library().encode()


def test_print_into_a_closed_pipe_ends_in_silence() -> None:
    # Closed before a byte is written: else the status depends on how much a pipe holds.
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "functions", "print"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_load_and_check(server: Embedded, client: redis.Redis) -> None:
    assert check(server.url) == (1, f"none: Redis has no {LIBRARY}; `broker functions load` puts {HERE} there")
    for _ in range(2):
        loaded = CLI.run("functions", "load", "--redis", server.url)
        assert (loaded.returncode, loaded.stdout.decode()) == (0, f"loaded {LIBRARY} {HERE}\n")
        assert loaded.stderr.decode() == f"into --redis {server.url}\n"
        assert check(server.url) == (0, f"this library: {LIBRARY} {HERE}")


def test_another_text_is_told_and_replaced(server: Embedded, client: redis.Redis) -> None:
    other = library("-- another\n")
    client.function_load(other)
    status, line = check(server.url)
    assert status == 1
    assert line == f"another text: {LIBRARY} {digest_of(other)}; `broker functions load` replaces it by {HERE}"
    client.function_load(library() + "-- by hand\n", replace=True)
    assert check(server.url) == (1, f"another text: {LIBRARY} altered; `broker functions load` replaces it by {HERE}")
    assert CLI.run("functions", "load", "--redis", server.url).returncode == 0
    assert check(server.url)[0] == 0


@pytest.mark.skipif(not (shutil.which("redis-cli") and shutil.which("sh")), reason="redis-cli is not installed")
def test_what_is_printed_can_be_piped_into_redis_cli(server: Embedded, client: redis.Redis) -> None:
    pipe = f'{" ".join(COMMAND)} functions print | redis-cli -s "{server.socket}" -x FUNCTION LOAD REPLACE'
    assert subprocess.run(pipe, shell=True, capture_output=True, timeout=60).stdout == b"broker_v1\n"  # noqa: S602 - a pipe is the test
    assert check(server.url)[0] == 0


def test_what_redis_refuses_is_one_line(server: Embedded, client: redis.Redis) -> None:
    client.function_load("#!lua name=mine\nredis.register_function('broker_v1_ack', function() return 1 end)")
    assert CLI.refused("functions", "load", "--redis", server.url) == "Redis refuses: Function broker_v1_ack already exists"
    client.acl_setuser("nobody", enabled=True, passwords=["+x"], categories=["-@all"])
    url = server.url.replace("unix://", "unix://nobody:x@")
    for action in ("load", "check"):
        assert CLI.refused("functions", action, "--redis", url).startswith("STORE_UNAVAILABLE: ")


def test_no_redis_and_no_such_url_are_one_line(tmp_path: Path) -> None:
    for action in ("load", "check"):
        assert CLI.refused("functions", action, "--redis", f"unix://{tmp_path}/none.sock").startswith("STORE_UNAVAILABLE: ")
        assert CLI.refused("functions", action, "--redis", "http://nowhere", status=2)
    assert CLI.run("functions").returncode == 2


def test_the_embedded_redis_keeps_the_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    where = ("--data-dir", str(tmp_path_factory.mktemp("d") / "data"))
    assert CLI.run("functions", "check", *where).returncode == 1
    assert CLI.run("functions", "load", *where).returncode == 0
    assert CLI.run("functions", "check", *where).returncode == 0
