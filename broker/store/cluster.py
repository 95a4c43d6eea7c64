"""The primaries of a Redis Cluster."""

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

# So many keys are tried to find one on each primary of a cluster; of a hundred primaries each has one among a thousand.
_PROBES = 10_000
# Commands of ours that name no key; the first argument of all others but these is one.
_KEYLESS = {"PING", "TIME", "INFO", "CONFIG", "SCRIPT", "FUNCTION", "WAIT", "WAITAOF"}


class _ClusterServer:
    """A server of a cluster."""

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def connection(self) -> AbstractConnection:
        """A connection that is yet to be opened."""
        options = self._node.connection_kwargs | {"retry": Retry(NoBackoff(), 0)}
        return self._node.connection_class(**options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ClusterServer) and other._node.name == self._node.name

    def __hash__(self) -> int:
        return hash(self._node.name)


class Cluster:
    """The primaries of a Redis Cluster, by redis-py's map of its slots.

    Commands do not go through redis-py's cluster client: it sends a command again after a lost connection, when it may have
    been done already.
    """

    patience_s = PATIENCE_S

    def __init__(self, addresses: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        nodes = [ClusterNode(host, port, **self._options) for host, port in addresses]
        for node in nodes:
            node.connection_class(**node.connection_kwargs)  # TypeError: an unknown option
        self._nodes = NodesManager(nodes, require_full_coverage=False, connection_kwargs=self._options)

    def node_of(self, args: Sequence[Argument], at: str | None = None) -> Node | None:
        """The primary of the slot of the command's key."""
        key = at if at is not None else _key(args)
        slot = 0 if key is None else key_slot(key.encode())
        found = self._nodes.slots_cache.get(slot)
        return _ClusterServer(found[0]) if found else None

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """The key, and one that never exists.

        While a slot is in transit a server refuses commands on several keys of which it lacks one (TRYAGAIN). Without that a
        script would run on a stream of which a part is elsewhere already, and break off in the middle.
        """
        return key, keys.beside(key)

    def read_group(self, key: str) -> int:
        """The slot."""
        return int(key_slot(key.encode()))

    async def refresh(self) -> None:
        """Ask the servers for their slots."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._nodes.initialize()
        except (RedisError, RedisClusterException, OSError, TimeoutError) as exc:
            raise StoreUnavailable("Redis cannot be reached; nothing happened.") from exc

    async def replaced(self, known: Set[Server], silent: Set[Server]) -> Set[Server]:
        """Silent ones alone: one that answers redirects what is not its own, and whoever is asked may know less."""
        if not silent:
            return silent
        await self.refresh()
        return silent - {nodes[0].name for nodes in self._nodes.slots_cache.values()}

    async def moved(self, error: MovedError) -> None:
        """Take note of the slot's new primary."""
        await self._nodes.move_slot(error)

    def asked(self, error: AskError) -> Node:
        """The server that a slot is on the way to."""
        known = self._nodes.get_node(host=error.host, port=error.port)
        return _ClusterServer(known or ClusterNode(error.host, error.port, **self._options))

    def primaries(self) -> list[str]:
        """Keys that between them lie on every primary."""
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
        """Close the connections by which slots were asked for."""
        await self._nodes.aclose()
        await self._nodes.aclose("startup_nodes")


# What redis-py tells Redis of itself; without it each new connection reads the version from the files of the package.


def _key(args: Sequence[Argument]) -> str | None:
    command = args[0]
    if command in ("EVALSHA", "EVAL", "FCALL"):
        return str(args[3])
    if command in ("XREAD", "XREADGROUP"):
        return str(args[args.index("STREAMS") + 1])
    return None if command in _KEYLESS else str(args[1])
