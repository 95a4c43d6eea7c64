"""Redis access of the commands. Each names the store that it used."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

import click

from broker.errors import StoreUnavailable
from broker.store.client import Store
from broker.store.data_directory import holds_a_store
from broker.store.embedded import Embedded, is_running
from http_api.cli.client import Refused
from http_api.cli.options import Run, settings_of
from http_api.settings import SOURCES, Settings, load

T = TypeVar("T")


def on_redis(settings: Settings, may_create: bool, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run `work` on the Redis that `serve` would use. Refused: there is no store, and creating one is not allowed."""

    async def run(url: str) -> T:
        store = Store.from_url(url)
        try:
            return await work(store)
        finally:
            await store.close()

    with _redis_of(settings, may_create) as url:
        return asyncio.run(run(url))


def shown(settings: Settings) -> str:
    """The store's name for messages: an absolute path, because the working directory may be wrong."""
    return settings.redis_source if settings.redis_url else f"--data-dir {settings.data_dir.resolve()}"


@contextlib.contextmanager
def _redis_of(settings: Settings, may_create: bool) -> Iterator[str]:
    """The URL of the Redis. If the embedded one does not run, it is started for the call."""
    if settings.redis_url is not None:
        try:
            yield settings.redis_url
        except StoreUnavailable as exc:
            raise settings.at_redis(exc) from exc
        return
    embedded = Embedded(settings.data_dir)
    if is_running(settings.data_dir):
        yield embedded.url
        return
    new = not holds_a_store(embedded.data_dir)
    if new and not may_create:
        raise Refused(f"there is no store in {embedded.data_dir}; name one by --redis or --data-dir, or make it with --create")
    embedded.start()
    try:
        for warning in (*embedded.warnings, *([f"A new store was made in {embedded.data_dir}."] if new else ())):
            sys.stderr.write(f"warning: {warning}\n")
        yield embedded.url
    finally:
        embedded.stop()


def at_store(work: Callable[..., Awaitable[int | None]]) -> Run:
    """A command on a Redis. Its first arguments are the store, and the store's name for messages."""

    @settings_of(Settings, "redis_url", "data_dir")
    @click.option("--create", is_flag=True, help="Create the data directory if it does not exist, even the default one.")
    @wraps(work)
    def run(create: bool, redis_url: str | None, data_dir: str | None, **options: Any) -> int | None:
        settings = load({"redis_url": redis_url, "data_dir": data_dir})
        named = data_dir or os.environ.get(SOURCES["data_dir"].variable)
        return on_redis(settings, bool(create or named), lambda store: work(store, shown(settings), **options))

    return run
