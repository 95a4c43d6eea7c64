"""Options that commands share: names, row limit, and settings."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from http_api.cli import parsers
from http_api.settings import OneOf, sources

# A command returns its exit status, or None for 0.
Run = Callable[..., int | None]
Command = TypeVar("Command", bound=Callable[..., Any])

NAME = click.argument("name", type=parsers.NAME)
STREAM = click.argument("stream", type=parsers.NAME)
CONSUMER = click.argument("consumer", type=parsers.NAME)


class _Setting(click.Option):
    """An option that is an environment variable too.

    `settings.load` reads the variable, because its errors name the source of a value.
    """

    def resolve_envvar_value(self, ctx: click.Context) -> None:
        """Return nothing: the option has its variable for the help only."""


def limit(default: int) -> Callable[[Command], Command]:
    """Add the option `--limit`: how many rows to print."""
    return click.option("--limit", type=parsers.AT_LEAST_1, metavar="N", default=default, show_default=True, help="How many at most.")


def settings_of(kind: type, *names: str) -> Callable[[Command], Command]:
    """Add the options of all settings, or of those in `names`. The command gets texts, or None."""

    def add(command: Command) -> Command:
        defaults = kind()
        for name, (option, variable, words, read) in reversed(sources(kind).items()):
            if option and (not names or name in names):
                default = getattr(defaults, name)
                command = click.option(
                    option, name, cls=_Setting, envvar=variable, show_envvar=True, help=words,
                    metavar=f"[{'|'.join(read.words)}]" if isinstance(read, OneOf) else None,
                    show_default=None if default is None else str(default),
                )(command)  # fmt: skip
        return command

    return add
