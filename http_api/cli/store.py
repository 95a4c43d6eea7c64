"""Commands that speak to Redis itself: `broker token` and `broker check`. Each says which store it used."""

import asyncio
import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from broker.access.audit import Audit
from broker.access.tokens import AccessTokens
from broker.errors import BrokerError, StoreUnavailable
from broker.store.client import Store
from broker.store.data_directory import holds_a_store
from broker.store.embedded import Embedded, is_running
from broker.store.guarantees import examine
from http_api.cli.client import Refused, show_rows
from http_api.settings import SOURCES, Settings, load


@dataclass(frozen=True, slots=True)
class Where:
    """A store by the settings of `serve`, and whether it may be made: where it was named, or by `--create`."""

    settings: Settings
    may_create: bool

    @classmethod
    def of(cls, args: Namespace) -> "Where":
        """By options and environment. WrongSetting."""
        settings = load({field: getattr(args, field, None) for field in SOURCES})
        return cls(settings, bool(args.create or args.data_dir or os.environ.get(SOURCES["data_dir"][1])))

    @property
    def shown(self) -> str:
        """The store as a message names it: an absolute path, for a wrong one is often that of a wrong directory."""
        settings = self.settings
        return settings.redis_source if settings.redis_url else f"--data-dir {settings.data_dir.resolve()}"


@contextlib.contextmanager
def redis_of(where: Where) -> Iterator[str]:
    """The URL of the Redis that `serve` would use; the embedded one is started for the while if it does not run.

    Refused: there is no store, and nobody said that one should be made.
    """
    settings = where.settings
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
    if new and not where.may_create:
        raise Refused(f"there is no store in {embedded.data_dir}; name one by --redis or --data-dir, or make it with --create")
    embedded.start()
    try:
        for warning in (*embedded.warnings, *([f"A new store was made in {embedded.data_dir}."] if new else ())):
            sys.stderr.write(f"warning: {warning}\n")
        yield embedded.url
    finally:
        embedded.stop()


def token(where: Where, args: Namespace) -> None:
    """Create, list or revoke access tokens."""

    async def work(url: str) -> None:
        store = Store.from_url(url)
        try:
            tokens = AccessTokens(store)
            match args.action:
                case "create":
                    print(await tokens.create(args.name, args.scope, args.expires))
                    await _note(store, "createToken", args.name)
                    sys.stderr.write(f"This is the only time that the token is shown; a hash of it is kept in {where.shown}\n")
                case "list":
                    rows = sorted((await tokens.list()).values(), key=lambda row: row.name)
                    columns = {"name": "name", "scopes": "scopes", "created": "created_at", "expires": "expires_at"}
                    show_rows([msgspec.to_builtins(row) for row in rows], columns)
                case "revoke":
                    await tokens.revoke(args.name)
                    await _note(store, "revokeToken", args.name)
                    print(f"revoked {args.name} in {where.shown}")
        finally:
            await store.close()

    with redis_of(where) as url:
        asyncio.run(work(url))


async def _note(store: Store, what: str, token: str) -> None:
    """Note in the audit log what was done, or say that it is not there."""
    try:
        await Audit(store).write("(command line)", what, f"token {token}")
    except BrokerError as exc:
        sys.stderr.write(f"warning: this is not in the audit log: {exc.summary}\n")


def check(where: Where, args: Namespace) -> int:
    """Print what the Redis at hand promises; gives 1 where it may lose data and that is asked for."""

    async def work(url: str) -> int:
        store = Store.from_url(url)
        try:
            promises = await examine(store)
        finally:
            await store.close()
        print("\n".join([*promises.lines(), f"store        {where.shown}", *(f"warning: {warning}" for warning in promises.warnings)]))
        return 1 if args.strict and promises.warnings else 0

    with redis_of(where) as url:
        return asyncio.run(work(url))
