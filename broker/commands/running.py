"""Runs scripts by SHA-1, and loads their text if the server does not have it."""

from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from broker.commands.scripts import Script
from broker.store.client import Store
from broker.store.connection import Argument
from broker.store.error_replies import from_reply


async def run(store: Store, script: Script, key: str, args: Iterable[Argument]) -> Any:
    """Run a script on the keys of one stream and return its reply."""
    return await _run(store, script, _arguments(store, key, args))


async def run_on_key(store: Store, script: Script, key: str, *args: Argument) -> Any:
    """Run a script that uses one key only."""
    return await _run(store, script, (1, key, *args))


async def _run(store: Store, script: Script, rest: Sequence[Argument]) -> Any:
    try:
        return await store.call("EVALSHA", script.sha, *rest)
    except NoScriptError:
        return await store.call("EVAL", script.text, *rest)


async def run_then(
    store: Store, script: Script, key: str, args: Iterable[Argument], then: Sequence[Sequence[Argument]]
) -> tuple[Any, list[Any]]:
    """Run a script and then commands in one transaction. Returns the script's reply and theirs, error replies included.

    If Redis does not have the script yet, the commands still run, and then everything runs again with the script's
    text. So the commands must have no effect unless the script has run. NoTransactions.
    """
    rest = _arguments(store, key, args)
    replies = await store.transaction(key, ("EVALSHA", script.sha, *rest), *then)
    if isinstance(replies[0], NoScriptError):
        replies = await store.transaction(key, ("EVAL", script.text, *rest), *then)
    if isinstance(replies[0], RedisError):
        raise from_reply(replies[0]) from replies[0]
    return replies[0], replies[1:]


def _arguments(store: Store, key: str, args: Iterable[Argument]) -> tuple[Argument, ...]:
    keys = store.slot_keys(key)
    return (len(keys), *keys, *args)
