"""Waiting for what happens elsewhere: in another process, or in another task."""

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable

import redis


def until(condition: Callable[[], bool], what: str = "the condition holds", seconds: float = 30) -> None:
    """Return when a condition holds. AssertionError: it did not in time."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10) -> None:
    """The same in a task. TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)
