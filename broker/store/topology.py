"""Which server holds what: one Redis, the primary that sentinels name (single.py), or the primaries of a cluster (cluster.py).

A store asks for the node of a command, reports redirections and failures, and learns how long a call that cannot have taken
effect is worth trying again. Nothing else knows what kind of Redis there is.
"""

from collections.abc import Hashable, Sequence, Set
from typing import Protocol

from redis.exceptions import AskError, MovedError

from broker.store.connection import Argument, Node, Server

# A primary that is gone is replaced within some seconds: so long a call may wait for the new one.
PATIENCE_S = 5.0


class Topology(Protocol):
    """The servers of a store. `patience_s`: how long a call that cannot have taken effect is tried again."""

    patience_s: float

    def node_of(self, args: Sequence[Argument], at: str | None = None) -> Node | None:
        """The server that runs a command, or one on the key `at`; None: not known, `refresh` first."""

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """The keys to name in a command that uses many keys of the slot of this one."""

    def read_group(self, key: str) -> Hashable:
        """What keys that one command may read have in common; None: all may be read together."""

    async def refresh(self) -> None:
        """Find out again which server holds what, after a server was not reached or did not do what it should. StoreUnavailable."""

    async def replaced(self, known: Set[Server], silent: Set[Server]) -> Set[Server]:
        """Which servers, of open connections or `silent` on them, are no primaries any more. StoreUnavailable."""

    async def moved(self, error: MovedError) -> None:
        """A server said who holds the key now."""

    def asked(self, error: AskError) -> Node:
        """The server that may have the key for this one call."""

    def primaries(self) -> list[str]:
        """A key for each server that takes writes, to name it by."""

    async def close(self) -> None:
        """Close what was opened to look."""
