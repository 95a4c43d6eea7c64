"""The command `broker` (C48). Exit status: 0, 1 for a refused request, 2 for wrong usage."""

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType

import click

# command -> its module in http_api.cli, and its help text (a test compares it with the command's own)
COMMANDS = {
    "serve": ("serve", "Run a server until SIGTERM."),
    "check": ("check", "Show how durable this Redis is."),
    "demo": ("demo", "Take a guided tour on sample data, in some seconds."),
    "publish": ("publish", "Publish a file to a stream."),
    "consume": ("consume", "Print a consumer's messages as NDJSON and ack them."),
    "record": ("inspection", "Print the current version of a record."),
    "message": ("inspection", "Print a message, and its state for each consumer."),
    "top": ("inspection", "Show a live table of consumers: backlog, rates, ages."),
    "audit": ("inspection", "Print who changed what, newest first."),
    "stream": ("stream", "Create, list, show, change or delete streams, or print their messages."),
    "consumer": ("consumer", "Create, list, show, change, delete, pause, resume, reset, or look into consumers."),
    "dead-letters": ("dead_letters", "List, redrive or purge dead letters."),
    "token": ("token", "Create, list or revoke access tokens, in Redis itself."),
    "functions": ("functions", "Print, load or check the library of Redis Functions, for clients in any language."),
}


class _Commands(click.Group):
    """Imports a command on use. Most need the library and an HTTP client, but `--version` and `--help` need neither."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"http_api.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, no_args_is_help=False)
@click.version_option(package_name="stream-broker", message="%(prog)s %(version)s")
def broker() -> None:
    """Record and event streams over Redis, pulled by HTTP workers."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    nowhere = _complete_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe too, so that notes on standard error come where they belong
    # Commands report an error as one line; only `serve` logs.
    logging.getLogger("broker").addHandler(logging.NullHandler())
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _interrupt)
    if nowhere and args[:1] != ["serve"]:
        return _fail("standard output is closed", 1)
    try:
        try:
            # Not `broker.main`, which has other statuses for signals and closed pipes.
            with broker.make_context("broker", args) as context:
                return broker.invoke(context) or 0
        finally:
            sys.stdout.flush()
    except click.exceptions.Exit as exc:  # of --help
        return exc.exit_code
    except click.UsageError as exc:
        command = exc.ctx.command_path if exc.ctx else "broker"
        return _fail(f"{exc.format_message().rstrip('.')}; see {command} --help", exc.exit_code)
    except click.ClickException as exc:
        return _fail(exc.format_message(), exc.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _drop_output()
        return 128 + 13  # the status of a program that SIGPIPE ended
    except OSError as exc:
        _drop_output()
        return _fail(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror or exc), 1)
    except Exception as exc:
        # The failing command has imported these already.
        from broker.errors import BrokerError
        from broker.store.embedded import EmbeddedFailed
        from http_api.settings import WrongSetting

        if isinstance(exc, BrokerError):
            return _fail(f"{exc.code}: {exc.summary}", 1)
        if isinstance(exc, WrongSetting | EmbeddedFailed):
            return _fail(str(exc), 2 if isinstance(exc, WrongSetting) else 1)
        raise


def _fail(text: str, status: int) -> int:
    """Print the error as one line and return the status."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"broker: {' '.join(text.split())}\n")
    return status


def _interrupt(_: int, __: FrameType | None) -> None:
    """Handle Ctrl-C as Python does, but ignore a second one, which would show a traceback of Python's shutdown."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(_: int, __: FrameType | None) -> None:
    """On SIGTERM, unwind the stack, so that processes of a command are ended."""
    raise SystemExit(128 + signal.SIGTERM)


def _complete_streams() -> bool:
    """Replace closed standard streams, whose numbers files would get. Returns whether stdout was closed."""
    with contextlib.suppress(OSError):
        while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(opened)
    nowhere = sys.stdout is None
    # Open until the program ends.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    return nowhere


def _drop_output() -> None:
    """Discard unwritten output, so that Python does not try to write it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
