"""The Lua files of `lua/`, put together as one library of Redis Functions, for clients in any language.

A library is the prelude, every shared file once, and every command as a function. The names of functions are global in
a Redis, so they carry the version of the wire contract: `broker_v1_next` is the command `next`. A second line holds a
digest of what follows, by which two texts of the library are distinguished.
"""

import hashlib
import re
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from broker.commands.scripts import names, prelude, read, uses
from broker.store.client import Store

LIBRARY = "broker_v1"
_DIGEST = re.compile(r"^-- digest: ([0-9a-f]+)$", re.MULTILINE)

# Redis refuses a function at its memory limit unless it is flagged; a script it lets run until its first write that may
# grow. So that workers can drain a full Redis, all are flagged but those that store messages, streams or consumers.
_STORING = {"consumer_create", "publish_events", "publish_records", "stream_create"}


def function_name(command: str) -> str:
    """What FCALL calls the command."""
    return f"{LIBRARY}_{command}"


def shared_order(lists: list[list[str]]) -> list[str]:
    """All shared files, each once, in an order that every one of the commands' lists follows. ValueError: there is none."""
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
    """The text for FUNCTION LOAD. Tests pass a prelude with a clock of their own."""
    commands = {name: read(name) for name in names()}
    shared = [read(f"shared/{part}") for part in shared_order([uses(text) for text in commands.values()])]
    functions = [_function(name, text) for name, text in commands.items()]
    content = "\n".join([prelude_text if prelude_text is not None else prelude(), *shared, *functions])
    digest = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
    return f"#!lua name={LIBRARY}\n-- digest: {digest}\n{content}"


def digest_of(text: str) -> str | None:
    """The digest that a library's text tells of itself."""
    found = _DIGEST.search(text)
    return found.group(1) if found else None


async def load(store: Store) -> str:
    """Put this library into every primary, replacing another text of it; returns its digest."""
    text = library()
    for key in await store.primaries():
        await store.call("FUNCTION", "LOAD", "REPLACE", text, at=key)
    return digest_of(text) or ""


async def loaded(store: Store) -> list[str | None]:
    """The text of the library that each primary has, or None."""
    return [await _loaded_at(store, key) for key in await store.primaries()]


async def _loaded_at(store: Store, key: str) -> str | None:
    found = await store.call("FUNCTION", "LIST", "LIBRARYNAME", LIBRARY, "WITHCODE", at=key)
    if not found:
        return None
    row = dict(zip(found[0][::2], found[0][1::2], strict=True))
    text: bytes = row[b"library_code"]
    return text.decode(errors="replace")


def same(text: str) -> bool:
    """Whether a text is this library; a shell's pipe may have removed its last line end."""
    return text.rstrip() == library().rstrip()
