"""Fsync: whether a Redis can confirm that the disk has a write (a stream's `fsync`; docs/decisions/0016)."""

from dataclasses import dataclass, replace
from typing import Any

from broker.store.client import Store
from broker.store.embedded import PROCESS_TITLE

# Sent after WAITAOF, on the same connection. A server that replies `always` has synced all earlier writes, because it
# syncs before it replies.
SETTINGS = ("CONFIG", "GET", "appendfsync", "proc-title-template")


@dataclass(frozen=True, slots=True)
class Disk:
    """A server's settings for its disk.

    `policy`: its `appendfsync`, "" if hidden; `embedded`: whether it is a broker's embedded server; `refusal`: its
    error reply to WAITAOF.
    """

    policy: str
    embedded: bool
    refusal: str = ""

    @property
    def reason(self) -> str | None:
        """Why WAITAOF cannot be used or trusted. None: it can."""
        if self.refusal:
            return f"needs a Redis of 7.2 or newer, or a Valkey, with appendonly yes; this one answers: {self.refusal}"
        if not self.policy:
            return "needs appendfsync always, and this Redis does not show its settings (CONFIG GET)"
        if self.policy != "always":
            return f"needs appendfsync always; with {self.policy}, as here, Redis may confirm what its disk has not got"
        return None

    @property
    def can_change(self) -> bool:
        """Whether `sync_always` removes the reason: the server is a broker's embedded one."""
        return self.embedded and not self.refusal and self.policy != "always"


def parsed(reply: Any) -> Disk:
    """Parse the reply to SETTINGS."""
    if not isinstance(reply, list):
        return Disk("", embedded=False)
    found = {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)}
    return Disk(found.get("appendfsync", ""), embedded=found.get("proc-title-template") == PROCESS_TITLE)


async def look(store: Store, key: str) -> Disk:
    """Read the disk settings of the server that holds a key."""
    waited, settings = await store.pipeline(key, ("WAITAOF", 1, 0, 1), SETTINGS)
    return replace(parsed(settings), refusal=str(waited).partition(",")[0] if isinstance(waited, Exception) else "")


async def make_sure(store: Store, key: str) -> str | None:
    """Why the server that holds a key cannot promise `fsync`. None: it can. An embedded server is set to do so."""
    disk = await look(store, key)
    if disk.can_change:
        await sync_always(store, key)
        disk = await look(store, key)
    return disk.reason


async def sync_always(store: Store, key: str) -> None:
    """Make the server that holds a key sync each write before its reply, until the server restarts."""
    await store.pipeline(key, ("CONFIG", "SET", "appendfsync", "always"))
