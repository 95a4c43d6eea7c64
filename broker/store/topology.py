"""Which server holds what: one Redis, the primary that sentinels name, or the primaries of a cluster.

This is the one place that knows what kind of Redis there is. A store asks for the node of a command, tells of redirections and
failures, and learns how long a call that cannot have taken effect is worth trying again.
"""

import asyncio
import os
import re
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any, Protocol
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection, parse_url, to_bool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.driver_info import DriverInfo
from redis.exceptions import AskError, MovedError, RedisClusterException, RedisError

from broker import keys
from broker.errors import StoreUnavailable
from broker.store.connection import CONNECT_S, Argument, Node, Server

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
# A primary that is gone is replaced within some seconds: so long a call may wait for the new one.
PATIENCE_S = 5.0
# So long one of several servers may be silent while a connection to it is made.
ANSWER_S = 1.0
# So many keys are tried to find one on each primary of a cluster; of a hundred primaries each has one among a thousand.
_PROBES = 10_000


class WrongUrl(ValueError):
    """A URL that names no Redis; the message says why, and repeats nothing secret of it."""


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
        """Look anew who holds what, after a server was not reached or did not do what it should. StoreUnavailable."""

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


class _Sentinels(Sentinel):
    """redis-py's, asked by one at a time: it moves the sentinel that answered to the front of its list, and loses one when two do so."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary. MasterNotFoundError."""
        async with self._asking:
            return await super().discover_master(service_name)  # type: ignore[no-any-return]


class SingleServer:
    """One server, whichever it is at the moment: what the pool's connections connect to."""

    def __init__(self, pool: ConnectionPool, sentinel: Sentinel | None = None) -> None:
        pool.make_connection()  # type: ignore[no-untyped-call]  # TypeError: an unknown option
        self.patience_s = PATIENCE_S if sentinel is not None else 0.0
        self._pool = pool
        self._sentinel = sentinel

    def connection(self) -> AbstractConnection:
        """A connection that is yet to be opened."""
        return self._pool.make_connection()  # type: ignore[no-any-return, no-untyped-call]

    def node_of(self, args: Sequence[Argument], at: str | None = None) -> Node:
        """It."""
        return self

    def slot_keys(self, key: str) -> tuple[str, ...]:
        """The key alone."""
        return (key,)

    def read_group(self, key: str) -> None:
        """All may be read together."""

    async def refresh(self) -> None:
        """Sentinels are asked by each new connection."""

    async def replaced(self, known: Set[Server], silent: Set[Server]) -> Set[Server]:
        """All but the one that the sentinels name: also one that answers, for what it takes will be lost."""
        if not isinstance(self._pool, SentinelConnectionPool):
            return set()
        try:
            host, port = await self._pool.get_master_address()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as exc:
            raise StoreUnavailable("The sentinels name no primary.") from exc
        return known - {f"{host}:{port}"}

    async def moved(self, error: MovedError) -> None:
        """StoreUnavailable: the server is of a cluster."""
        raise StoreUnavailable("This Redis is part of a cluster; write redis+cluster://host:port.") from error

    def asked(self, error: AskError) -> Node:
        """Likewise."""
        raise StoreUnavailable("This Redis is part of a cluster; write redis+cluster://host:port.") from error

    def primaries(self) -> list[str]:
        """The one."""
        return [keys.PROBE]

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        if self._sentinel is not None:
            await self._sentinel.aclose()


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
_DRIVER = DriverInfo()
# Commands of ours that name no key; the first argument of all others but these is one.
_KEYLESS = {"PING", "TIME", "INFO", "CONFIG", "SCRIPT", "FUNCTION", "WAIT", "WAITAOF"}


def _key(args: Sequence[Argument]) -> str | None:
    command = args[0]
    if command in ("EVALSHA", "EVAL", "FCALL"):
        return str(args[3])
    if command in ("XREAD", "XREADGROUP"):
        return str(args[args.index("STREAMS") + 1])
    return None if command in _KEYLESS else str(args[1])


def from_url(url: str, timeout: float) -> Topology:
    """The servers behind `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`.

    Those of sentinels and clusters have a list of addresses: `redis+sentinel://host:port,host:port/service/db`. ValueError, WrongUrl.
    """
    options: dict[str, Any] = {"protocol": 2, "socket_timeout": None, "driver_info": _DRIVER}
    if not url.startswith("unix://"):
        options |= {"socket_connect_timeout": timeout, "socket_keepalive": True}
    kind = urlsplit(url).scheme.partition("+")[2]
    try:
        if kind == "sentinel":
            return _sentinel(url, options, timeout)
        if kind == "cluster":
            addresses, shared, path = _several(url, options)
            if path or shared.pop("db", 0):
                raise WrongUrl("a cluster has one database, so none can be named")
            patience = _patience_of_one(addresses, timeout)
            return Cluster(addresses, shared | {"socket_connect_timeout": patience, "socket_timeout": patience})
        return SingleServer(ConnectionPool(**options | _parsed(url)))
    except TypeError as exc:
        name = re.search(r"keyword argument '(\w+)'", str(exc))
        raise WrongUrl(f"the URL has an option that is unknown{f': {name[1]}' if name else ''}") from exc
    except RedisError as exc:  # what an option of TLS has for a value
        raise WrongUrl(f"the URL has an option that cannot be used: {exc}") from exc


def _parsed(url: str) -> dict[str, Any]:
    """The options of a connection as redis-py reads them from a URL, but where it would pass over what it cannot read."""
    found, path = dict(parse_url(url)), urlsplit(url).path
    if url.startswith("unix://"):
        found["path"] = os.fsdecode(unquote_to_bytes(path))  # a file's name need not be UTF-8
    elif not re.fullmatch(r"(/[0-9]*)?", path):
        raise WrongUrl("the database must be a number, as in redis://host:port/0")
    for name in ("protocol", "decode_responses"):
        found.pop(name, None)  # what is spoken, and how it is read, is not for the URL to say
    return found


def _patience_of_one(addresses: Sequence[tuple[str, int]], timeout: float) -> float:
    """How long one of several servers may be silent before the next one is asked, in seconds: all must have their turn."""
    return min(timeout, CONNECT_S / (2 * len(addresses)), ANSWER_S)


def _sentinel(url: str, options: dict[str, Any], timeout: float) -> SingleServer:
    addresses, shared, path = _several(url, options)
    service, _, db = path.partition("/")
    if not service:
        raise WrongUrl("the service is missing: redis+sentinel://host:port/service")
    if not re.fullmatch("[0-9]*", db):
        raise WrongUrl("the database must be a number, as in redis+sentinel://host:port/service/0")
    patience = _patience_of_one(addresses, timeout)
    asking = {"socket_connect_timeout": patience, "socket_timeout": patience, "retry": Retry(NoBackoff(), 0)}
    ssl = issubclass(shared.pop("connection_class", Connection), SSLConnection)
    # The sentinels' own user, password and TLS; TLS is theirs too where the data servers have it, unless the URL says otherwise.
    asking |= {name: shared.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in shared}
    if to_bool(shared.pop("sentinel_ssl", str(ssl))):
        asking |= {"ssl": True} | {name: value for name, value in shared.items() if name.startswith("ssl_")}
    db = db or shared.pop("db", 0)
    sentinel = _Sentinels(addresses, sentinel_kwargs=asking)
    # A primary that hangs takes a connection and says nothing on it: meanwhile the sentinels may name another.
    shared |= {"socket_connect_timeout": min(timeout, ANSWER_S), "socket_timeout": min(timeout, ANSWER_S)}
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        service, sentinel, ssl=ssl, db=int(db), retry=Retry(NoBackoff(), 0), **shared
    )
    return SingleServer(pool, sentinel)


def _several(url: str, options: dict[str, Any]) -> tuple[list[tuple[str, int]], dict[str, Any], str]:
    """The addresses of a URL with several, the options of each connection, and the path without its slash."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    addresses = []
    for address in hosts.split(","):
        one = urlsplit(f"//{address}")
        if not one.hostname:
            raise WrongUrl("an address is missing")
        addresses.append((one.hostname, one.port or (26379 if "sentinel" in parts.scheme else 6379)))
    scheme = parts.scheme.partition("+")[0]
    shared = options | _parsed(f"{scheme}://{login}{'@' if login else ''}localhost/?{parts.query}")
    del shared["host"]
    return addresses, shared, unquote(parts.path.strip("/"))
