"""Redis Functions: builds one library from the files of `lua/`, for clients in any language.

A library is the prelude, every shared file once, and every command as a function. Function names are global in Redis,
so they include the version of the wire contract: `broker_v1_next` is the command `next`. The second line holds a
digest of the following text, which distinguishes two versions of the library.
"""

import hashlib
import re
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from broker.commands.scripts import names, prelude, read, uses
from broker.store.client import Store

LIBRARY = "broker_v1"
_DIGEST = re.compile(r"^-- digest: ([0-9a-f]+)$", re.MULTILINE)

# At its memory limit Redis refuses a function without the flag allow-oom, but runs a script up to its first write that
# needs memory. Workers must be able to drain a full Redis, so all functions have the flag except those that store
# messages, streams or consumers.
_STORING = {"consumer_create", "publish_events", "publish_records", "stream_create"}


def function_name(command: str) -> str:
    """The name of the command for FCALL."""
    return f"{LIBRARY}_{command}"


def shared_order(lists: list[list[str]]) -> list[str]:
    """All shared files once, in an order that agrees with the list of every command.

    ValueError: no such order exists.
    """
    graph: TopologicalSorter[str] = TopologicalSorter()
    for parts in lists:
        for part in parts:
            graph.add(part)
        for before, part in pairwise(parts):
            graph.add(part, before)
    try:
        return list(graph.static_order())
    except CycleError as exc:
        raise ValueError(f"the commands' `-- uses:` lines want different orders: {' '.join(exc.args[1])}") from exc


def _function(command: str, text: str) -> str:
    flags = "" if command in _STORING else "'allow-oom'"
    return (
        f"redis.register_function({{ function_name = '{function_name(command)}', flags = {{ {flags} }}, "
        f"callback = function(KEYS, ARGV)\n{text}end }})\n"
    )


def library(prelude_text: str | None = None) -> str:
    """The text for FUNCTION LOAD. Tests pass a prelude with their own clock."""
    commands = {name: read(name) for name in names()}
    shared = [read(f"shared/{part}") for part in shared_order([uses(text) for text in commands.values()])]
    functions = [_function(name, text) for name, text in commands.items()]
    content = "\n".join([prelude_text if prelude_text is not None else prelude(), *shared, *functions])
    digest = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
    return f"#!lua name={LIBRARY}\n-- digest: {digest}\n{content}"


def digest_of(text: str) -> str | None:
    """The digest that a library's text states."""
    found = _DIGEST.search(text)
    return found.group(1) if found else None


async def load(store: Store) -> str:
    """Load this library into every primary, replacing other versions. Returns its digest."""
    text = library()
    for key in await store.primaries():
        await store.call("FUNCTION", "LOAD", "REPLACE", text, at=key)
    return digest_of(text) or ""


async def loaded(store: Store) -> list[str | None]:
    """The text of the library on each primary, or None."""
    return [await _loaded_at(store, key) for key in await store.primaries()]


async def _loaded_at(store: Store, key: str) -> str | None:
    found = await store.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE", at=key)
    if not found:
        return None
    row = dict(zip(found[0][::2], found[0][1::2], strict=True))
    text: bytes = row[b"library_code"]
    return text.decode(errors="replace")


def same(text: str) -> bool:
    """Whether a text is this library. A shell pipe may have removed its last newline."""
    return text.rstrip() == library().rstrip()
