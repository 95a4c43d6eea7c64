"""Registries: which streams and consumers exist, and the stream of each consumer.

A registry is in another cluster slot than its objects, so no script can change both. A row is claimed before its object
is created, confirmed afterwards, and released after the object was deleted. Each change of a row fails if the row has
changed since it was read, so a caller never acts on what another has just created or deleted (docs/decisions/0001).
"""

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

from broker import keys
from broker.commands.engine import Engine, flatten
from broker.commands.running import run_on_key
from broker.messages.names import is_name
from broker.store.connection import Argument

_ROWS_A_STEP = 500


class Taken(Exception):
    """The name belongs to an object that exists with another value."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


class _Row(NamedTuple):
    """A row of a registry. None, no version: it is not there."""

    value: str | None
    version: bytes


class Registry:
    """The rows of one kind of object: name -> value. `exist`: which objects of a value and these names exist."""

    def __init__(self, engine: Engine, key: str, exist: Callable[[str, Sequence[str]], Awaitable[Sequence[bool]]]) -> None:
        self._engine = engine
        self._key = key
        self._exist = exist

    async def claim(self, name: str, value: str) -> None:
        """Set a row before its object is created, or if it is missing. Taken."""
        await self._set(name, value, again=False)

    async def confirm(self, name: str, value: str) -> None:
        """Set a row after its object was created, so that all who have read it must read it again. Taken."""
        await self._set(name, value, again=True)

    async def _set(self, name: str, value: str, *, again: bool) -> None:
        while True:
            [row] = await self._read([name])
            if row.value not in (None, value) and any(await self._exist(row.value, [name])):
                raise Taken(row.value)
            if (row.value == value and not again) or await self._write(name, value, row):
                return

    async def release(self, names: Sequence[str], value: str) -> None:
        """Remove the rows of deleted objects, except those that were created again."""
        for some in _steps(names):
            while True:
                rows, exist = await self._read(some), await self._exist(value, some)
                found = list(zip(some, rows, exist, strict=True))
                gone = [(name, row.version) for name, row, exists in found if row.value == value and not exists]
                lost = [(name, row) for name, row, exists in found if row.value is None and exists]  # its creator died
                if not gone and not lost:
                    break
                if gone:
                    await self._run("remove", *flatten(gone))
                for name, row in lost:
                    await self._write(name, value, row)

    async def astray(self, names: Sequence[str], value: str) -> list[str]:
        """The names whose rows do not have this value."""
        return [name for some in _steps(names) for name, row in zip(some, await self._read(some), strict=True) if row.value != value]

    async def _read(self, names: Sequence[str]) -> list[_Row]:
        found = await self._engine.store.call("HMGET", self._key, *names, *(f":{name}" for name in names))
        values, versions = found[: len(names)], found[len(names) :]
        return [_Row(None if value is None else value.decode(), version or b"") for value, version in zip(values, versions, strict=True)]

    async def _write(self, name: str, value: str, read: _Row) -> bool:
        return bool(await self._run("set", value, name, read.version, secrets.token_hex(8)))

    async def _run(self, *change: Argument) -> int:
        count: int = await run_on_key(self._engine.store, self._engine.scripts["register"], self._key, *change)
        return count


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
    texts = [text.decode() for text in found]
    return dict(sorted((name, value) for name, value in zip(texts[::2], texts[1::2], strict=True) if is_name(name)))


async def page_of_names(engine: Engine, key: str, after: str | None, limit: int) -> tuple[list[str], str | None]:
    """A page of a registry's names, sorted, and the cursor of the next page."""
    rest = [name for name in await rows(engine, key) if after is None or name > after]
    return rest[:limit], rest[limit - 1] if len(rest) > limit else None


def _steps(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _ROWS_A_STEP):
        yield names[start : start + _ROWS_A_STEP]
