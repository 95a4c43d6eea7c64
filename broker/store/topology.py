"""Topology: which server holds a key. See single.py (one server, Sentinel) and cluster.py.

A store asks for the node of a command, and reports redirections and failures. The topology also says how long a call
without effect is worth repeating. Nothing else knows the kind of Redis.
"""

from collections.abc import Hashable, Sequence, Set
from typing import Protocol

from redis.exceptions import AskError, MovedError

from broker.store.connection import Argument, Node, Server

# A lost primary is replaced within some seconds. A call may wait this long for the new one.
PATIENCE_S = 5.0


class Topology(Protocol):
    """The servers of a store. `patience_s`: how long a call without effect is repeated."""

    patience_s: float

    def node_of(self, args: Sequence[Argument], at: str | None = None) -> Node | None:
        """The server of a command, or of the key `at`. None: unknown, call `refresh` first."""

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """The keys to pass to a command that uses many keys in the slot of this one."""

    def read_group(self, key: str) -> Hashable:
        """The group of keys that one command may read together with this one. None: all keys."""

    async def refresh(self) -> None:
        """Reload the map of servers after a server was unreachable or misbehaved.

        StoreUnavailable.
        """

    async def replaced(self, known: Set[Server], silent: Set[Server]) -> Set[Server]:
        """The servers that are no longer primaries. `silent`: those of `known` that do not answer. StoreUnavailable."""

    async def moved(self, error: MovedError) -> None:
        """A server replied which server holds the key now."""

    def asked(self, error: AskError) -> Node:
        """The server that may hold the key, for this one call."""

    def primaries(self) -> list[str]:
        """One key on each server that accepts writes."""

    async def close(self) -> None:
        """Close the connections that were opened to find servers."""
