"""Redis Cluster: finds the primary of each key, and follows redirections."""

import asyncio
from collections.abc import Mapping, Sequence, Set
from typing import Any

from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError

from broker import keys
from broker.errors import StoreUnavailable
from broker.store.connection import CONNECT_S, Argument, Node, Server
from broker.store.topology import PATIENCE_S

# How many keys are tried to find one on each primary. With a hundred primaries, a thousand keys are usually enough.
_PROBES = 10_000
# The commands in use that have no key. The first argument of all others is a key.
_KEYLESS = {"PING", "TIME", "INFO", "CONFIG", "SCRIPT", "FUNCTION", "WAIT", "WAITAOF"}


class _ClusterServer:
    """A server of a cluster."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def connection(self) -> AbstractConnection:
        """A connection that is not open yet."""
        options = self._node.connection_kwargs | {"retry": Retry(NoBackoff(), 0)}
        return self._node.connection_class(**options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ClusterServer) and other._node.name == self._node.name

    def __hash__(self) -> int:
        return hash(self._node.name)


class Cluster:
    """The primaries of a Redis Cluster, by redis-py's map of its slots.

    redis-py's cluster client is not used, because it sends a command again after a lost connection, when the command
    may already have taken effect.
    """

    patience_s = PATIENCE_S

    def __init__(self, addresses: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        nodes = [ClusterNode(host, port, **self._options) for host, port in addresses]
        for node in nodes:
            node.connection_class(**node.connection_kwargs)  # TypeError: an unknown option
        self._nodes = NodesManager(nodes, require_full_coverage=False, connection_kwargs=self._options)

    def node_of(self, args: Sequence[Argument], at: str | None = None) -> Node | None:
        """The primary that holds the slot of the command's key."""
        key = at if at is not None else _key(args)
        slot = 0 if key is None else key_slot(key.encode())
        found = self._nodes.slots_cache.get(slot)
        return _ClusterServer(found[0]) if found else None

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """The key, and one that never exists.

        While a slot migrates, a server refuses commands on several keys if it lacks one of them (TRYAGAIN). Otherwise a
        script would run on a stream that has partly moved, and fail in the middle.
        """
        return key, keys.beside(key)

    def read_group(self, key: str) -> int:
        """The slot."""
        return int(key_slot(key.encode()))

    async def refresh(self) -> None:
        """Reload the map of slots."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._nodes.initialize()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as exc:
            raise StoreUnavailable("Redis cannot be reached; nothing happened.") from exc

    async def replaced(self, known: Set[Server], silent: Set[Server]) -> Set[Server]:
        """Silent servers only. One that answers redirects correctly, and the others may know less than it does."""
        if not silent:
            return silent
        await self.refresh()
        return silent - {nodes[0].name for nodes in self._nodes.slots_cache.values()}

    async def moved(self, error: MovedError) -> None:
        """Record the slot's new primary."""
        await self._nodes.move_slot(error)

    def asked(self, error: AskError) -> Node:
        """The server to which a slot migrates."""
        known = self._nodes.get_node(host=error.host, port=error.port)
        return _ClusterServer(known or ClusterNode(error.host, error.port, **self._options))

    def primaries(self) -> list[str]:
        """One key on each primary."""
        wanted = {nodes[0].name for nodes in self._nodes.slots_cache.values()}
        found: dict[str, str] = {}
        for n in range(_PROBES):
            key = keys.probe(n)
            if nodes := self._nodes.slots_cache.get(key_slot(key.encode())):
                found.setdefault(nodes[0].name, key)
            if len(found) == len(wanted):
                break
        return list(found.values())

    async def close(self) -> None:
        """Close the connections that read the map of slots."""
        await self._nodes.aclose()
        await self._nodes.aclose("startup_nodes")


def _key(args: Sequence[Argument]) -> str | None:
    command = args[0]
    if command in ("EVALSHA", "EVAL", "FCALL"):
        return str(args[3])
    if command in ("XREAD", "XREADGROUP"):
        return str(args[args.index("STREAMS") + 1])
    return None if command in _KEYLESS else str(args[1])
