"""`broker functions`: the library of Redis Functions for clients in other languages."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from broker.commands.functions import LIBRARY, digest_of, library, load, loaded, same
from broker.errors import StoreFault
from broker.store.client import Store
from http_api.cli.client import Refused
from http_api.cli.store import Where, redis_of


def show() -> None:
    """Print the library's text."""
    sys.stdout.buffer.write(library().encode())


def put(where: Where) -> int:
    """Load the library into Redis."""

    async def work(store: Store) -> int:
        print(f"loaded {LIBRARY} {await load(store)}")
        sys.stderr.write(f"into {where.shown}\n")
        return 0

    return _on_redis(where, work)


def check(where: Where) -> int:
    """Say what Redis has of the library; 0 = this very text."""

    async def work(store: Store) -> int:
        here, texts = digest_of(library()), await loaded(store)
        others = [text for text in texts if text is None or not same(text)]
        if not others:
            print(f"this library: {LIBRARY} {here}")
            return 0
        there = next((text for text in others if text is not None), None)
        if there is None:
            print(f"none: Redis has no {LIBRARY}; `broker functions load` puts {here} there")
        else:
            told = digest_of(there)
            print(f"another text: {LIBRARY} {told if told != here else 'altered'}; `broker functions load` replaces it by {here}")
        return 1

    return _on_redis(where, work)


def _on_redis(where: Where, work: Callable[[Store], Awaitable[int]]) -> int:
    async def run(url: str) -> int:
        store = Store.from_url(url)
        try:
            return await work(store)
        except StoreFault as exc:  # what Redis said of the text, or of FUNCTION, is what the operator needs
            raise Refused(f"Redis refuses: {exc.__cause__}") from exc
        finally:
            await store.close()

    with redis_of(where) as url:
        return asyncio.run(run(url))
