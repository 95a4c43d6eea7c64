"""The disk: which Redis can tell that it has what was published (a stream's `fsync`; docs/decisions/0016)."""

from dataclasses import dataclass, replace
from typing import Any

from broker.store.client import Store
from broker.store.embedded import PROCESS_TITLE

# Sent after WAITAOF, on its connection. A server that says `always` then has synced all that it did before: it syncs
# before it sends a reply.
SETTINGS = ("CONFIG", "GET", "appendfsync", "proc-title-template")


@dataclass(frozen=True, slots=True)
class Disk:
    """What a server says of its disk.

    `policy` is its `appendfsync`, "" where it hides that; `embedded`: it is a broker's own; `refusal`: its words against WAITAOF.
    """

    policy: str
    embedded: bool
    refusal: str = ""

    @property
    def reason(self) -> str | None:
        """Why WAITAOF cannot be asked, or not be believed; None: it can."""
        if self.refusal:
            return f"needs a Redis of 7.2 or newer, or a Valkey, with appendonly yes; this one answers: {self.refusal}"
        if not self.policy:
            return "needs appendfsync always, and this Redis does not show its settings (CONFIG GET)"
        if self.policy != "always":
            return f"needs appendfsync always; with {self.policy}, as here, Redis may confirm what its disk has not got"
        return None

    @property
    def can_change(self) -> bool:
        """Whether `sync_always` takes the reason away: the server is a broker's own."""
        return self.embedded and not self.refusal and self.policy != "always"


def parsed(reply: Any) -> Disk:
    """What the reply to SETTINGS says."""
    if not isinstance(reply, list):
        return Disk("", embedded=False)
    found = {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)}
    return Disk(found.get("appendfsync", ""), embedded=found.get("proc-title-template") == PROCESS_TITLE)


async def look(store: Store, key: str) -> Disk:
    """The disk of the server that holds a key."""
    waited, settings = await store.pipeline(key, ("WAITAOF", 1, 0, 1), SETTINGS)
    return replace(parsed(settings), refusal=str(waited).partition(",")[0] if isinstance(waited, Exception) else "")


async def make_sure(store: Store, key: str) -> str | None:
    """Why the server that holds a key cannot promise `fsync`, None: it can. An embedded one is set to do so."""
    disk = await look(store, key)
    if disk.can_change:
        await sync_always(store, key)
        disk = await look(store, key)
    return disk.reason


async def sync_always(store: Store, key: str) -> None:
    """Have the server that holds a key sync each write before it is answered, until the server starts again."""
    await store.pipeline(key, ("CONFIG", "SET", "appendfsync", "always"))
