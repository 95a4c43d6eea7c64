"""The Python library over FCALL: a store that calls the functions of the library that Redis holds in place of scripts."""

from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError

from broker.error_replies import from_reply
from broker.functions import function_name, library
from broker.link import Argument
from broker.scripts import Script
from broker.store import Store


class FunctionStore(Store):
    """A store that knows no scripts: what it runs, it runs by FCALL."""

    async def run(self, script: Script, key: str, args: Iterable[Argument]) -> Any:
        return await self.call("FCALL", function_name(script.name), *self._script_arguments(key, args))

    async def run_then(
        self, script: Script, key: str, args: Iterable[Argument], then: Sequence[Sequence[Argument]]
    ) -> tuple[Any, list[Any]]:
        function = ("FCALL", function_name(script.name), *self._script_arguments(key, args))
        first, *rest = await self._reply(("MULTI",), function, *then, ("EXEC",), at=key)
        if isinstance(first, ResponseError):
            raise from_reply(first) from first
        return first, rest


def load_library(url: str, text: str | None = None) -> None:
    """Put a text of the library, else the one that users get, into the one Redis at `url`."""
    with redis.Redis.from_url(url) as client:
        client.function_load(text or library(), replace=True)
