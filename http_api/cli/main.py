"""The command `broker` (C48): what it takes, and how it ends. Status 0, 1 for a refused request, 2 for wrong usage."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from broker import __version__
from broker.errors import BrokerError
from broker.store.embedded import EmbeddedFailed
from http_api.cli import consume, demo, looking, objects, publish, store
from http_api.cli.client import Refused, at_server
from http_api.cli.groups import consumer_commands, dead_letter_commands, function_commands, stream_commands, token_commands
from http_api.cli.options import SERVE_OPTIONS, Parser, client_options, command, fail, name, number, setting_options, store_options
from http_api.cli.store import Where
from http_api.settings import SOURCES, Settings, WrongSetting, load


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit status."""
    nowhere = _complete_streams()
    # A command says in its one line what is wrong; only `serve` logs.
    logging.getLogger("broker").addHandler(logging.NullHandler())
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _interrupt)
    try:
        try:
            args = parser().parse_args(argv)
            if nowhere and args.run is not _serve:
                return fail("standard output is closed", 1)
            return args.run(args) or 0
        finally:
            sys.stdout.flush()
    except WrongSetting as exc:
        return fail(str(exc), 2)
    except (Refused, EmbeddedFailed) as exc:
        return fail(str(exc), 1)
    except BrokerError as exc:
        return fail(f"{exc.code}: {exc.summary}", 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _drop_output()
        return 128 + 13  # what a shell shows of a program that SIGPIPE ended
    except OSError as exc:
        _drop_output()
        return fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror or exc), 1)


def _interrupt(_: int, __: FrameType | None) -> None:
    """Ctrl-C, as Python takes it; an impatient second one would show how Python ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(_: int, __: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that what a command started is ended."""
    raise SystemExit(128 + signal.SIGTERM)


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


def _settings(args: argparse.Namespace) -> Settings:
    return load({field: getattr(args, field, None) for field in SOURCES})


def _serve(args: argparse.Namespace) -> None:
    from http_api.server.serve import serve

    serve(_settings(args))


def parser() -> argparse.ArgumentParser:
    """All commands and what they take."""
    parser = Parser(prog="broker", description="Record and event streams over Redis, pulled by HTTP workers.")
    parser.add_argument("--version", action="version", version=f"broker {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serving = command(commands, "serve", "run a server", _serve)
    setting_options(serving, *SERVE_OPTIONS)

    publishing = command(commands, "publish", "publish a file to a stream", at_server(publish.run))
    publishing.add_argument("stream", metavar="STREAM", type=name)
    publishing.add_argument("file", metavar="FILE", help="NDJSON or a JSON list of messages, - = standard input")
    client_options(publishing)

    summary = "print a consumer's messages as NDJSON and ack them"
    consuming = command(commands, "consume", summary, at_server(consume.run))
    consuming.add_argument("consumer", metavar="CONSUMER", type=name)
    consuming.add_argument("--no-ack", action="store_true", help="leave the messages to be delivered again (default: ack them)")
    consuming.add_argument("--follow", action="store_true", help="wait for more, for ever (default: end when there is no more)")
    consuming.add_argument(
        "--deliveries", action="store_true", help="print id, ack token and deliver count too (default: only the record or the event)"
    )
    client_options(consuming)

    recording = command(commands, "record", "print the current version of a record", at_server(objects.record))
    recording.add_argument("stream", metavar="STREAM", type=name)
    recording.add_argument("id", metavar="ID")
    client_options(recording)

    looking_at = command(commands, "message", "print a message, and what it is to each consumer", at_server(looking.message))
    looking_at.add_argument("stream", metavar="STREAM", type=name)
    looking_at.add_argument("id", metavar="ID", help="its message id, such as 1718000000000-0")
    client_options(looking_at)

    topping = command(commands, "top", "a live table of consumers: backlog, rates, ages", at_server(looking.top))
    topping.add_argument("--once", action="store_true", help="print it once (default: again and again)")
    topping.add_argument("--every", type=number, default=2, metavar="SECONDS", help="how often (default: 2)")
    client_options(topping)

    auditing = command(commands, "audit", "print who changed what, newest first", at_server(objects.audit))
    auditing.add_argument("--limit", type=number, default=100, metavar="N", help="N at most (default: 100)")
    client_options(auditing)

    for group in (stream_commands, consumer_commands, dead_letter_commands, token_commands, function_commands):
        group(commands)

    checking = command(commands, "check", "print what the Redis at hand promises", lambda args: store.check(Where.of(args), args))
    checking.add_argument("--strict", action="store_true", help="status 1 where there is a warning: data may be lost (default: status 0)")
    store_options(checking)
    command(commands, "demo", "a guided run on sample data, in under a minute", lambda _: demo.run())
    return parser


if __name__ == "__main__":
    sys.exit(main())
