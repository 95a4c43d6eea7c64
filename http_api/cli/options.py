"""What the commands have in common: how options are read, and what their help says."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NoReturn

import msgspec

from broker.messages.names import WHAT_IS_A_NAME, is_name
from broker.messages.times import duration_ms
from http_api.settings import CHOICES, SOURCES, Settings

# A command gives its exit status, or None for 0.
Run = Callable[[argparse.Namespace], int | None]

REDIS_URLS = (
    "redis://HOST:PORT/DB, rediss:// for TLS, unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB, or "
    "redis+cluster://HOST:PORT,HOST:PORT; user and password as in redis://USER:PASSWORD@HOST"
)
START = "all, new, last, a window such as 15m, or a time"
_HELP = {
    "host": "address to listen on",
    "port": "port to listen on, 0 = any",
    "redis_url": f"{REDIS_URLS}; without it an embedded Valkey runs in the data directory",
    "data_dir": "directory of the embedded Valkey",
    "workers": "processes that serve, one a core",
    "log_level": f"how much to log: {', '.join(CHOICES['log_level'])}",
    "log_format": "text, or json: an object a line",
    "metrics": "who may read /metrics: open = all, token = tokens of scope read or admin, off = nobody",
    "max_message_bytes": "largest message",
    "max_body_bytes": "largest JSON body",
    "max_answer_bytes": "largest answer with messages, though with one at least",
}
SERVE_OPTIONS = tuple(_HELP)


def fail(text: str, status: int) -> int:
    """Say in one line what is wrong; gives the status."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"broker: {' '.join(text.split())}\n")
    return status


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        raise SystemExit(fail(f"{message}; see {self.prog} --help", 2))


def command(commands: Any, name: str, summary: str, run: Run | None) -> argparse.ArgumentParser:
    """Add a command."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def actions(commands: Any, name: str, summary: str) -> Callable[..., argparse.ArgumentParser]:
    """Add a command that has commands; gives what adds them."""
    group = command(commands, name, summary, None).add_subparsers(metavar="ACTION", required=True, dest="action")

    def add(action: str, text: str, run: Run) -> argparse.ArgumentParser:
        return command(group, action, text, run)

    return add


def setting_options(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add options that are settings of a server too."""
    defaults = {field.name: field.default for field in fields(Settings)}
    for name in names:
        option, variable = SOURCES[name]
        default = "" if defaults[name] is None else f" (default: {defaults[name]})"
        parser.add_argument(option, dest=name, metavar=option[2:].upper(), help=f"{_HELP[name]}{default} [{variable}]")


def client_options(parser: argparse.ArgumentParser) -> None:
    """Add how to reach a server."""
    parser.add_argument("--url", help="the server (default: http://127.0.0.1:8080) [BROKER_URL]")
    parser.add_argument("--token", help="an access token [BROKER_TOKEN]")


def store_options(parser: argparse.ArgumentParser) -> None:
    """Add where the Redis is."""
    setting_options(parser, "redis_url", "data_dir")
    parser.add_argument("--create", action="store_true", help="make the data directory if there is none, even if it was not named")


def default_of(spec: type[msgspec.Struct], field: str) -> str:
    """The default of a field as help shows it."""
    (found,) = (f for f in msgspec.structs.fields(spec) if f.name == field)
    value = found.default if found.default is not msgspec.NODEFAULT else found.default_factory()
    return f"(default: {'none' if value in (None, [], {}) else value})"


def name(text: str) -> str:
    """The name of a stream or a consumer."""
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: it must be {WHAT_IS_A_NAME}")
    return text


def number(text: str) -> int:
    """A number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def number_or_none(text: str) -> int | msgspec.UnsetType:
    """A number, or `none` to take a limit away."""
    if text == "none":
        return msgspec.UNSET
    try:
        return int(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor none") from exc


def key_and_pattern(text: str) -> tuple[str, str]:
    """A filter."""
    key, equals, pattern = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=PATTERN")
    return key, pattern


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from exc


def json_object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from exc
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


def span(text: str) -> int:
    """A duration such as 30s, 12h or 90d, in ms."""
    try:
        return duration_ms(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} {exc}") from exc
