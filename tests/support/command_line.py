"""The command `broker` as a process, and what tests give it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from http_api.cli.main import broker
from tests.support import forks
from tests.support.processes import Process, by_name

COMMAND = [sys.executable, "-m", "http_api.cli.main"]


def commands(of: click.Group = broker, path: str = "") -> dict[str, click.Command]:
    """Every command that there is, by what is typed."""
    found: dict[str, click.Command] = {}
    for name in of.list_commands(click.Context(of)):
        command = of.get_command(click.Context(of), name)
        assert command is not None
        typed = f"{path} {name}".strip()
        found |= commands(command, typed) if isinstance(command, click.Group) else {typed: command}
    return found


def started(args: Sequence[str], environ: Mapping[str, str]) -> Process:
    """A command that goes on: run by its name if it shall find its modules elsewhere."""
    return by_name(args, environ) if "PYTHONPATH" in environ else forks.Server(args, environ)


class Cli:
    """Runs commands against a server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("BROKER_")} | {"BROKER_URL": url}

    def run(self, *args: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end. It must never show a traceback."""
        done = forks.run(args, stdin, self.environ | environ, timeout=120)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    def ok(self, *args: str, stdin: bytes = b"") -> str:
        """What a command prints that ends well."""
        done = self.run(*args, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def ok_or_warned(self, *args: str) -> str:
        """The same of a command that may say more on standard error."""
        done = self.run(*args)
        assert done.returncode == 0, done.stderr
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
