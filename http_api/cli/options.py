"""What commands have in common: a name, settings, and how they reach a server or a store."""

import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

import click

from http_api.cli import reading
from http_api.cli.client import ClientSettings, client
from http_api.cli.store import on_redis, shown
from http_api.settings import SOURCES, OneOf, Settings, load, sources

# A command gives its exit status, or None for 0.
Run = Callable[..., int | None]
Command = TypeVar("Command", bound=Callable[..., Any])

NAME = click.argument("name", type=reading.NAME)
STREAM = click.argument("stream", type=reading.NAME)
CONSUMER = click.argument("consumer", type=reading.NAME)


class _Setting(click.Option):
    """An option that is an environment variable too. `settings.load` reads that, for its errors name where a value is from."""

    def resolve_envvar_value(self, ctx: click.Context) -> None:
        """Nothing: the variable is named here for the help."""


def limit(default: int) -> Callable[[Command], Command]:
    """Add how many rows a command prints."""
    return click.option("--limit", type=reading.AT_LEAST_1, metavar="N", default=default, show_default=True, help="How many at most.")


def settings_of(kind: type, *names: str) -> Callable[[Command], Command]:
    """Add an option for each setting that has one, or for those that are named. The command gets texts, or None."""

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
    """A command that works at the server of its options; it gets a client of that first."""

    @settings_of(ClientSettings)
    @wraps(work)
    def run(url: str | None, token: str | None, **options: Any) -> int | None:
        with client(url, token) as found:
            return work(found, **options)

    return run


def at_store(work: Callable[..., Awaitable[int | None]]) -> Run:
    """A command that works on the Redis of its options; it gets that first, and how a message names it."""

    @settings_of(Settings, "redis_url", "data_dir")
    @click.option("--create", is_flag=True, help="Make the data directory if there is none, even if it was not named.")
    @wraps(work)
    def run(create: bool, redis_url: str | None, data_dir: str | None, **options: Any) -> int | None:
        settings = load({"redis_url": redis_url, "data_dir": data_dir})
        named = data_dir or os.environ.get(SOURCES["data_dir"].variable)
        return on_redis(settings, bool(create or named), lambda store: work(store, shown(settings), **options))

    return run
