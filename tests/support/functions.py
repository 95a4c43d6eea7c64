"""The Python library over FCALL: it calls the functions of the library that Redis holds, and no scripts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import redis

from broker import Broker
from broker.commands.functions import function_name, library
from broker.commands.scripts import Script, Scripts
from broker.store.client import Store
from broker.store.connection import Argument


class _Names(Scripts):
    """Scripts that are known by the names of functions."""

    def __getitem__(self, name: str) -> Script:
        return replace(super().__getitem__(name), sha=function_name(name))


@lru_cache(maxsize=1)
def _names() -> _Names:
    return _Names()


class _FunctionStore(Store):
    """A store that sends FCALL where it is given EVALSHA."""

    async def call(self, *args: Argument, at: str | None = None) -> Any:
        return await super().call(*_function(args), at=at)

    async def transaction(self, at: str, *commands: Sequence[Argument]) -> list[Any]:
        return await super().transaction(at, *map(_function, commands))


def _function(args: Sequence[Argument]) -> Sequence[Argument]:
    return ("FCALL", *args[1:]) if args[0] == "EVALSHA" else args


def broker_by_functions(url: str) -> Broker:
    """A broker that knows no scripts: what it runs, it runs by FCALL."""
    return Broker(_FunctionStore.from_url(url), scripts=_names())


def load_library(url: str, text: str | None = None) -> None:
    """Put a text of the library, else the one that users get, into the one Redis at `url`."""
    with redis.Redis.from_url(url) as client:
        client.function_load(text or library(), replace=True)
