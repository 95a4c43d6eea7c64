"""Redis access of the commands. Each names the store that it used."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from broker.errors import StoreUnavailable
from broker.store.client import Store
from broker.store.data_directory import holds_a_store
from broker.store.embedded import Embedded, is_running
from http_api.cli.client import Refused
from http_api.settings import Settings

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
            raise StoreUnavailable(f"{settings.redis_source}: {exc.summary}") from exc
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
