"""`broker functions`: the library of Redis Functions for clients in other languages."""

import contextlib
import sys
from collections.abc import Iterator

import click

from broker.commands.functions import LIBRARY, digest_of, library, loaded, same
from broker.commands.functions import load as load_into
from broker.errors import StoreFault
from broker.store.client import Store
from http_api.cli.client import Refused
from http_api.cli.store import at_store


@click.group()
def functions() -> None:
    """Print, load or check the library of Redis Functions, for clients in any language."""


@functions.command("print")
def print_() -> None:
    """Print the library, for FUNCTION LOAD."""
    sys.stdout.buffer.write(library().encode())


@functions.command()
@at_store
async def load(store: Store, where: str) -> None:
    """Load the library into Redis; it replaces another text of it."""
    with _answers():
        print(f"loaded {LIBRARY} {await load_into(store)}")
    sys.stderr.write(f"into {where}\n")


@functions.command()
@at_store
async def check(store: Store, where: str) -> int:
    """Say whether Redis has this very library; status 0 = yes."""
    with _answers():
        here, texts = digest_of(library()), await loaded(store)
    others = [text for text in texts if text is None or not same(text)]
    if not others:
        print(f"this library: {LIBRARY} {here}")
        return 0
    there = next((text for text in others if text is not None), None)
    if there is None:
        print(f"none: Redis has no {LIBRARY}; `broker functions load` puts {here} there")
    else:
        digest = digest_of(there) if digest_of(there) != here else "altered"
        print(f"another text: {LIBRARY} {digest}; `broker functions load` replaces it by {here}")
    return 1


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    """Show the replies of Redis about the library or FUNCTION: the operator needs them."""
    try:
        yield
    except StoreFault as exc:
        raise Refused(f"Redis refuses: {exc.__cause__}") from exc
