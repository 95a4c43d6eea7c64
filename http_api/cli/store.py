"""Commands that speak to Redis itself: `broker token` and `broker check`."""

import asyncio
import contextlib
import sys
from argparse import Namespace
from collections.abc import Iterator

import msgspec

from broker.access import AccessTokens
from broker.embedded import Embedded, is_running
from broker.errors import StoreUnavailable
from broker.promises import examine
from broker.store import Store
from http_api.cli.client import show_rows
from http_api.settings import Settings


@contextlib.contextmanager
def redis_of(settings: Settings) -> Iterator[str]:
    """The URL of the Redis that `serve` would use; the embedded one is started for the while if it does not run."""
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
    embedded.start()
    try:
        yield embedded.url
    finally:
        embedded.stop()


def token(settings: Settings, args: Namespace) -> None:
    """Create, list or revoke access tokens."""

    async def work(url: str) -> None:
        store = Store.from_url(url)
        try:
            tokens = AccessTokens(store)
            match args.action:
                case "create":
                    print(await tokens.create(args.name, args.scope, args.expires))
                    sys.stderr.write("This is the only time that the token is shown; a hash of it is kept.\n")
                case "list":
                    rows = sorted((await tokens.list()).values(), key=lambda row: row.name)
                    show_rows([msgspec.to_builtins(row) for row in rows], ("name", "scopes", "created_at", "expires_at"))
                case "revoke":
                    await tokens.revoke(args.name)
                    print(f"revoked {args.name}")
        finally:
            await store.close()

    with redis_of(settings) as url:
        asyncio.run(work(url))


def check(settings: Settings) -> None:
    """Print what the Redis at hand promises."""

    async def work(url: str) -> None:
        store = Store.from_url(url)
        try:
            promises = await examine(store)
        finally:
            await store.close()
        print("\n".join([*promises.lines(), *(f"warning: {warning}" for warning in promises.warnings)]))

    with redis_of(settings) as url:
        asyncio.run(work(url))
