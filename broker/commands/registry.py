"""Registries: which streams and consumers exist, and the stream of each consumer.

A registry is in another cluster slot than its objects, so no script can change both. A row is claimed before its object
is created, confirmed afterwards, and released after the object was deleted. Each change of a row fails if the registry
has changed since it was read, so a caller never acts on what another has just created or deleted
(docs/decisions/0001).
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence

from broker import keys
from broker.commands.engine import Engine
from broker.commands.running import run_on_key

_ROWS_A_STEP = 500


class Taken(Exception):
    """The name belongs to an object that exists with another value."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


class Registry:
    """The rows of one kind of object: name -> value. `exist`: which objects of a value and these names exist."""

    def __init__(self, engine: Engine, key: str, exist: Callable[[str, Sequence[str]], Awaitable[Sequence[bool]]]) -> None:
        self._engine = engine
        self._key = key
        self._exist = exist

    async def claim(self, name: str, value: str) -> None:
        """Set a row before its object is created. Taken."""
        await self._set(name, value, anyway=False)

    async def confirm(self, name: str, value: str) -> None:
        """Set a row after its object was created: others may have changed it meanwhile. Taken."""
        await self._set(name, value, anyway=True)

    async def release(self, names: Sequence[str], value: str) -> None:
        """Remove the rows of deleted objects, except those that were created again."""
        for start in range(0, len(names), _ROWS_A_STEP):
            some, done = names[start : start + _ROWS_A_STEP], False
            while not done:
                version, values = await self._read(some)
                there = await self._exist(value, some)
                gone = [name for name, held, exists in zip(some, values, there, strict=True) if held == value and not exists]
                done = not gone or await self._change(version, "remove", *gone)

    async def _set(self, name: str, value: str, *, anyway: bool) -> None:
        done = False
        while not done:
            version, [held] = await self._read([name])
            if held not in (None, value) and any(await self._exist(held, [name])):
                raise Taken(held)
            # An unchanged row is written too: whoever has read it must read it again.
            done = (held == value and not anyway) or await self._change(version, "set", name, value)

    async def _read(self, names: Sequence[str]) -> tuple[bytes, list[str | None]]:
        version, *values = await self._engine.store.call("HMGET", self._key, "", *names)
        return version or b"", [None if value is None else value.decode() for value in values]

    async def _change(self, version: bytes, *change: str) -> bool:
        script = self._engine.scripts["register"]
        return bool(await run_on_key(self._engine.store, script, self._key, version, secrets.token_hex(8), *change))


def of_streams(engine: Engine) -> Registry:
    """Stream name -> "": the streams that exist."""

    async def exist(_: str, names: Sequence[str]) -> list[bool]:
        return [bool(await engine.store.call("EXISTS", keys.stream(name))) for name in names]

    return Registry(engine, keys.STREAMS, exist)


def of_consumers(engine: Engine) -> Registry:
    """Consumer name -> the name of its stream."""

    async def exist(stream: str, names: Sequence[str]) -> list[bool]:
        return [bool(there) for there in await engine.store.call("SMISMEMBER", keys.consumers(stream), *names)]

    return Registry(engine, keys.CONSUMERS, exist)


async def rows(engine: Engine, key: str) -> dict[str, str]:
    """All rows of a registry, sorted by name."""
    found = await engine.store.call("HGETALL", key)
    return dict(sorted((found[i].decode(), found[i + 1].decode()) for i in range(0, len(found), 2) if found[i]))
