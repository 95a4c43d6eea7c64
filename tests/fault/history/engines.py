"""An engine in this process over a Redis, of the Lua files in `lua/` or of a broken copy of them; and its lanes."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from broker import Broker, Store
from broker.access.tokens import AccessTokens, OpenMode
from broker.commands import scripts
from broker.commands.functions import library
from broker.commands.scripts import Scripts
from http_api.app import create_app
from http_api.settings import Settings
from tests.fault.history.lanes import Plain
from tests.fault.history.recorder import Recorder
from tests.support.api import Api, HttpApi
from tests.support.functions import broker_by_functions, load_library
from tests.support.library_api import LibraryApi


@dataclass(frozen=True)
class Mutant:
    """A broken engine: a text that stands once in a file below `lua/` is another one. `rule`: what must catch it."""

    name: str
    file: str
    text: str
    broken: str
    rule: str

    def break_in(self, lua: Path) -> None:
        """Change the copy. AssertionError: the text does not stand in the file, or more than once."""
        path = lua / f"{self.file}.lua"
        before = path.read_text(encoding="utf-8")
        found = before.count(self.text)
        assert found == 1, f"mutant {self.name!r}: its text stands {found} times in lua/{self.file}.lua; mutate what took its place"
        path.write_text(before.replace(self.text, self.broken), encoding="utf-8")

    def is_caught(self, rules: set[str]) -> bool:
        """Whether its rule is among those that were found broken."""
        return any(rule.startswith(self.rule) for rule in rules)


class _Eager(dict[str, int]):
    """Remembers no round in which the read that follows was of no use, so that it is tried in each."""

    def __setitem__(self, consumer: str, rounds: int) -> None:
        """Not kept."""


def engine_of(mutant: Mutant | None, directory: Path) -> tuple[Scripts, str]:
    """The scripts and the library of functions of a mutant; of None, of the engine as it is."""
    kept = scripts.LUA
    try:
        if mutant is not None:
            scripts.LUA = directory / "lua"
            shutil.copytree(kept, scripts.LUA)
            mutant.break_in(scripts.LUA)
        prelude = scripts.read("prelude")
        return Scripts(prelude), library(prelude)
    finally:
        scripts.LUA = kept


@asynccontextmanager
async def engine_lanes(url: str, engine: Scripts, functions: str) -> AsyncIterator[Recorder]:
    """HTTP, the library over scripts, the library over functions, and plain commands."""
    load_library(url, functions)
    async with AsyncExitStack() as stack:
        served, own = (Broker(Store.from_url(url), scripts=engine) for _ in range(2))
        by_functions = broker_by_functions(url)
        plain = Store.from_url(url)
        for broker in (served, own, by_functions):
            broker.deliveries._fast_read._rounds = _Eager()
        for closing in (served, own, by_functions, plain):
            stack.push_async_callback(closing.close)
        await served.start()
        tokens = AccessTokens(served.store, open_mode=OpenMode())
        await tokens.start()
        stack.push_async_callback(tokens.close)
        transport = httpx.ASGITransport(create_app(served, tokens, Settings()))
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://localhost"))
        lanes: dict[str, Api] = {
            "http": HttpApi(client),
            "library": LibraryApi(own),
            "functions": LibraryApi(by_functions),
        }
        yield Recorder(lanes, Plain(plain))
