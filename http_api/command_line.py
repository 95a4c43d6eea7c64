"""The command `broker` (C48): what it takes, and how it ends. Status 0, 1 for a refused request, 2 for wrong usage."""

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from broker import __version__
from broker.access import SCOPES
from broker.embedded import EmbeddedFailed
from broker.errors import BrokerError
from broker.names import WHAT_IS_A_NAME, is_name
from broker.times import duration_ms
from http_api.cli import consume, demo, functions, objects, publish, store
from http_api.cli.client import Client, Refused, client
from http_api.settings import SOURCES, Settings, WrongSetting, load

_HELP = {
    "host": "address to listen on (127.0.0.1)",
    "port": "port to listen on, 0 = any (8080)",
    "redis_url": "redis://, rediss:// or unix:// of a Redis; without it an embedded Valkey runs in the data directory",
    "data_dir": "directory of the embedded Valkey (./broker-data)",
    "workers": "processes that serve, one a core (1)",
    "log_level": "debug, info, warning or error (info)",
    "max_message_bytes": "largest message (1048576)",
    "max_body_bytes": "largest JSON body (8388608)",
    "max_answer_bytes": "largest answer with messages, though with one at least (8388608)",
}

# A command gives its exit status, or None for 0.
_Run = Callable[[argparse.Namespace], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit status."""
    nowhere = _complete_streams()
    # A command says in its one line what is wrong; only `serve` logs.
    logging.getLogger("broker").addHandler(logging.NullHandler())
    try:
        try:
            args = _parser().parse_args(argv)
            if nowhere and args.run is not _serve:
                return _fail("standard output is closed", 1)
            return args.run(args) or 0
        finally:
            sys.stdout.flush()
    except WrongSetting as exc:
        return _fail(str(exc), 2)
    except (Refused, EmbeddedFailed) as exc:
        return _fail(str(exc), 1)
    except BrokerError as exc:
        return _fail(f"{exc.code}: {exc.summary}", 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 128 + 13  # what a shell shows of a program that SIGPIPE ended
    except OSError as exc:
        _drop_output()
        return _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror or exc), 1)


def _complete_streams() -> bool:
    """Put the null device where a standard stream is closed, for its number would go to the next file; whether output is."""
    with contextlib.suppress(OSError):
        while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(opened)
    nowhere = sys.stdout is None
    # For as long as the program runs.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    return nowhere


def _drop_output() -> None:
    """What could not be written is not tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(text: str, status: int) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"broker: {' '.join(text.split())}\n")
    return status


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        raise SystemExit(_fail(f"{message}; see {self.prog} --help", 2))


def _settings(args: argparse.Namespace) -> Settings:
    return load({field: getattr(args, field, None) for field in SOURCES})


def _client(args: argparse.Namespace) -> Client:
    return client(args.url, args.token)


def _serve(args: argparse.Namespace) -> None:
    from http_api.server import serve

    serve(_settings(args))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="broker", description="Record and event streams over Redis, pulled by HTTP workers.")
    parser.add_argument("--version", action="version", version=f"broker {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serving = _command(commands, "serve", "run a server", _serve)
    _setting_options(serving, *_HELP)

    publishing = _command(commands, "publish", "publish a file to a stream", lambda args: publish.run(_client(args), args))
    publishing.add_argument("stream", metavar="STREAM", type=_name)
    publishing.add_argument("file", metavar="FILE", help="NDJSON or a JSON list of messages, - = standard input")
    _client_options(publishing)

    summary = "print a consumer's messages as NDJSON and ack them"
    consuming = _command(commands, "consume", summary, lambda args: consume.run(_client(args), args))
    consuming.add_argument("consumer", metavar="CONSUMER", type=_name)
    consuming.add_argument("--no-ack", action="store_true", help="leave the messages to be delivered again")
    consuming.add_argument("--follow", action="store_true", help="wait for more, for ever")
    _client_options(consuming)

    _stream_commands(commands)
    _consumer_commands(commands)
    _dead_letter_commands(commands)
    _token_commands(commands)
    _function_commands(commands)

    checking = _command(commands, "check", "print what the Redis at hand promises", lambda args: store.check(_settings(args)))
    _setting_options(checking, "redis_url", "data_dir")
    _command(commands, "demo", "a guided run on sample data, in under a minute", lambda _: demo.run())
    return parser


def _command(commands: Any, name: str, summary: str, run: _Run | None) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def _setting_options(parser: argparse.ArgumentParser, *fields: str) -> None:
    for field in fields:
        option, variable = SOURCES[field]
        parser.add_argument(option, dest=field, metavar=option[2:].upper(), help=f"{_HELP[field]} [{variable}]")


def _client_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the server (http://127.0.0.1:8080) [BROKER_URL]")
    parser.add_argument("--token", help="an access token [BROKER_TOKEN]")


def _actions(commands: Any, name: str, summary: str) -> Callable[..., argparse.ArgumentParser]:
    group = _command(commands, name, summary, None).add_subparsers(metavar="ACTION", required=True, dest="action")

    def add(action: str, text: str, run: _Run) -> argparse.ArgumentParser:
        return _command(group, action, text, run)

    return add


def _stream_commands(commands: Any) -> None:
    add = _actions(commands, "stream", "create, list, show or delete streams")

    def run(args: argparse.Namespace) -> None:
        objects.stream(_client(args), args)

    creating = add("create", "create a stream", run)
    creating.add_argument("name", metavar="NAME")
    creating.add_argument("--kind", choices=("records", "events"))
    creating.add_argument("--max-messages", type=int, metavar="N", help="drop the oldest events beyond N")
    creating.add_argument("--max-age-ms", type=int, metavar="MS", help="drop events older than MS")
    creating.add_argument("--dedupe-window-ms", type=int, metavar="MS", help="remember event ids for MS")
    creating.add_argument("--replicas", type=int, metavar="N", help="answer a publish when N replicas have it")
    creating.add_argument("--fsync", action="store_true", default=None, help="answer a publish when the disk has it")
    creating.add_argument("--metadata", type=_json_object, metavar="JSON")
    parsers = [creating, add("list", "list streams", run), add("show", "show a stream", run), add("delete", "delete a stream", run)]
    for parser in parsers[2:]:
        parser.add_argument("name", metavar="NAME", type=_name)
    parsers[3].add_argument("--force", action="store_true", help="delete its consumers too")
    for parser in parsers:
        _client_options(parser)


def _consumer_commands(commands: Any) -> None:
    add = _actions(commands, "consumer", "create, list, show, delete, pause, resume, reset, or look into consumers")

    def run(args: argparse.Namespace) -> None:
        objects.consumer(_client(args), args)

    creating = add("create", "create a consumer", run)
    creating.add_argument("name", metavar="NAME", nargs="?")
    creating.add_argument("--stream", dest="stream_id", metavar="STREAM", help="records")
    creating.add_argument("--filter", action="append", type=_filter, metavar="KEY=PATTERN", help="provider, collection_id or resource_id")
    creating.add_argument("--ack-wait-ms", type=int, metavar="MS", help="30000")
    creating.add_argument("--max-deliver", type=int, metavar="N", help="-1 = no limit")
    creating.add_argument("--max-ack-pending", type=int, metavar="N", help="1000")
    creating.add_argument("--max-waiting", type=int, metavar="N", help="512")
    creating.add_argument("--deliver-policy", metavar="WHERE", help="all, new, last, a window such as 15m, or a time")
    creating.add_argument("--ordering", choices=("none", "key"))
    creating.add_argument("--backoff-ms", type=_numbers, metavar="MS,MS,...")
    creating.add_argument("--metadata", type=_json_object, metavar="JSON")
    listing = add("list", "list consumers", run)
    listing.add_argument("--stream", dest="stream_id", metavar="STREAM", help="only of this stream")
    pausing = add("pause", "deliver nothing until a time, or until resumed", run)
    pausing.add_argument("--until", metavar="TIME", help="an RFC 3339 time")
    resetting = add("reset", "forget what is out, waiting and dead, and start anew", run)
    resetting.add_argument("--deliver-policy", default="all", metavar="WHERE", help="all, new, last, a window such as 15m, or a time")
    peeking = add("peek", "show the next messages without delivering them", run)
    peeking.add_argument("--limit", type=int, default=10, metavar="N", help="10")
    named = [add("show", "show a consumer", run), add("delete", "delete a consumer", run), pausing, resetting, peeking]
    named += [add("resume", "deliver again", run), add("pending", "list what is out", run)]
    for parser in named:
        parser.add_argument("name", metavar="NAME", type=_name)
    for parser in (creating, listing, *named):
        _client_options(parser)


def _dead_letter_commands(commands: Any) -> None:
    add = _actions(commands, "dead-letters", "list, redrive or purge dead letters")

    def run(args: argparse.Namespace) -> None:
        objects.dead_letters(_client(args), args)

    listing = add("list", "list dead letters", run)
    redriving = add("redrive", "put dead letters back for their consumer, all or some", run)
    purging = add("purge", "delete dead letters", run)
    for parser in (listing, redriving, purging):
        parser.add_argument("consumer", metavar="CONSUMER", type=_name)
        _client_options(parser)
    for parser in (listing, redriving):
        parser.add_argument("--collection-id", metavar="COLLECTION", help="only of this collection")
        parser.add_argument("--reason", choices=("max_deliver", "rejected"), help="only these")
    redriving.add_argument("--limit", type=int, metavar="N", help="N at most")
    redriving.add_argument("--dry-run", action="store_true", help="only count")
    redriving.add_argument("--id", dest="ids", action="append", metavar="ID", help="this one; repeat for more")
    chosen = purging.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--id", dest="ids", action="append", metavar="ID", help="this one; repeat for more")
    chosen.add_argument("--all", action="store_true", help="all of them")


def _span(text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _token_commands(commands: Any) -> None:
    add = _actions(commands, "token", "create, list or revoke access tokens, in Redis itself")

    def run(args: argparse.Namespace) -> None:
        store.token(_settings(args), args)

    creating = add("create", "create a token and print it, once", run)
    creating.add_argument("name", metavar="NAME")
    creating.add_argument("--scope", action="append", default=[], help=f"{SCOPES}; repeat for more")
    creating.add_argument("--expires", type=_span, metavar="TIME", help="how long it holds: 30s, 5m, 12h, 90d; default: for ever")
    revoking = add("revoke", "make a token invalid", run)
    revoking.add_argument("name", metavar="NAME")
    for parser in (creating, revoking, add("list", "list tokens", run)):
        _setting_options(parser, "redis_url", "data_dir")


def _function_commands(commands: Any) -> None:
    add = _actions(commands, "functions", "the library of Redis Functions, for clients in any language")
    add("print", "print the library, for FUNCTION LOAD", lambda _: functions.show())
    loading = add("load", "load the library into Redis, in place of another text of it", lambda args: functions.put(_settings(args)))
    checking = add("check", "say whether Redis has this very library; status 0 = yes", lambda args: functions.check(_settings(args)))
    for parser in (loading, checking):
        _setting_options(parser, "redis_url", "data_dir")


def _name(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: it must be {WHAT_IS_A_NAME}")
    return text


def _filter(text: str) -> tuple[str, str]:
    key, equals, pattern = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=PATTERN")
    return key, pattern


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from exc


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON") from exc
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object")
    return value


if __name__ == "__main__":
    sys.exit(main())
