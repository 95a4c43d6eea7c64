"""`broker check`: the guarantees of the Redis in use."""

import click

from broker.store.client import Store
from broker.store.guarantees import examine
from http_api.cli.store import at_store


@click.command()
@click.option("--strict", is_flag=True, help="Status 1 where there is a warning: data may be lost (default: status 0).")
@at_store
async def check(store: Store, where: str, strict: bool) -> int:
    """Show how durable this Redis is."""
    found = await examine(store)
    print("\n".join([*found.lines(), f"store        {where}", *(f"warning: {warning}" for warning in found.warnings)]))
    return 1 if strict and found.warnings else 0
