"""Options that commands share: row limit, settings, and the server or store to use."""

import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import click

from http_api.cli import reading
from http_api.cli.client import ClientSettings, client
from http_api.cli.store import on_redis, shown
from http_api.settings import SOURCES, OneOf, Settings, load, sources

# A command returns its exit status, or None for 0.
Run = Callable[..., int | None]
Command = TypeVar("Command", bound=Callable[..., Any])

NAME = click.argument("name", type=reading.NAME)
STREAM = click.argument("stream", type=reading.NAME)
CONSUMER = click.argument("consumer", type=reading.NAME)


class _Setting(click.Option):
    """An option that is an environment variable too.

    `settings.load` reads the variable, because its errors name the source of a value.
    """

    def resolve_envvar_value(self, ctx: click.Context) -> None:
        """Return nothing: the option has its variable for the help only."""


def limit(default: int) -> Callable[[Command], Command]:
    """Add the option `--limit`: how many rows to print."""
    return click.option("--limit", type=reading.AT_LEAST_1, metavar="N", default=default, show_default=True, help="How many at most.")


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


def at_server(work: Run) -> Run:
    """A command on a server. Its first argument is a client of the server."""

    @settings_of(ClientSettings)
    @wraps(work)
    def run(url: str | None, token: str | None, **options: Any) -> int | None:
        with client(url, token) as found:
            return work(found, **options)

    return run


def at_store(work: Callable[..., Awaitable[int | None]]) -> Run:
    """A command on a Redis. Its first arguments are the store, and the store's name for messages."""

    @settings_of(Settings, "redis_url", "data_dir")
    @click.option("--create", is_flag=True, help="Make the data directory if there is none, even if it was not named.")
    @wraps(work)
    def run(create: bool, redis_url: str | None, data_dir: str | None, **options: Any) -> int | None:
        settings = load({"redis_url": redis_url, "data_dir": data_dir})
        named = data_dir or os.environ.get(SOURCES["data_dir"].variable)
        return on_redis(settings, bool(create or named), lambda store: work(store, shown(settings), **options))

    return run
