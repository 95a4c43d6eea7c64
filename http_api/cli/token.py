"""`broker token`: access tokens, managed directly in Redis."""

import sys

import click
import msgspec

from broker.access.audit import Audit
from broker.access.tokens import AccessTokens
from broker.errors import BrokerError
from broker.store.client import Store
from http_api.cli.fields import options_of
from http_api.cli.store import at_store
from http_api.cli.tables import show_rows
from http_api.shapes.requests import TokenRequest


@click.group()
def token() -> None:
    """Create, list or revoke access tokens, in Redis itself."""


@token.command()
@options_of(TokenRequest)
@at_store
async def create(store: Store, where: str, name: str, scopes: tuple[str, ...], expires_in: int | None) -> None:
    """Create a token and print it, once."""
    print(await AccessTokens(store).create(name, scopes, expires_in))
    await _note(store, "createToken", name)
    sys.stderr.write(f"This is the only time that the token is shown; a hash of it is kept in {where}\n")


@token.command("list")
@at_store
async def list_(store: Store, where: str) -> None:
    """List tokens."""
    rows = sorted((await AccessTokens(store).list()).values(), key=lambda row: row.name)
    columns = {"name": "name", "scopes": "scopes", "created": "created_at", "expires": "expires_at"}
    show_rows([msgspec.to_builtins(row) for row in rows], columns)


@token.command()
@click.argument("name")
@at_store
async def revoke(store: Store, where: str, name: str) -> None:
    """Make a token invalid."""
    await AccessTokens(store).revoke(name)
    await _note(store, "revokeToken", name)
    print(f"revoked {name} in {where}")


async def _note(store: Store, what: str, token: str) -> None:
    """Write to the audit log, or warn that the entry is missing."""
    try:
        await Audit(store).write("(command line)", what, f"token {token}")
    except BrokerError as exc:
        sys.stderr.write(f"warning: this is not in the audit log: {exc.summary}\n")
