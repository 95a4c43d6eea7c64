"""Parses Redis URLs to topologies."""

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url, to_bool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from broker.store.cluster import Cluster
from broker.store.connection import CONNECT_S
from broker.store.single import Sentinels, SingleServer
from broker.store.topology import Topology

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
# How long connecting to one of several servers may take.
ANSWER_S = 1.0
# redis-py's CLIENT SETINFO. Without this, each new connection reads the package's version from disk.
_DRIVER = DriverInfo()


class WrongUrl(ValueError):
    """The URL of a Redis is invalid. The message says why, without secrets of the URL."""


def from_url(url: str, timeout: float) -> Topology:
    """The servers of a URL, whose scheme is one of SCHEMES.

    Sentinel and Cluster take a list of addresses: `redis+sentinel://host:port,host:port/service/db`.
    ValueError, WrongUrl.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise WrongUrl(f"the URL must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
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
    except RedisError as exc:  # the value of a TLS option
        raise WrongUrl(f"the URL has an option that cannot be used: {exc}") from exc


def _parsed(url: str) -> dict[str, Any]:
    """The connection options that redis-py reads from a URL. Invalid parts, which redis-py ignores, are errors."""
    found, path = dict(parse_url(url)), urlsplit(url).path
    if url.startswith("unix://"):
        found["path"] = os.fsdecode(unquote_to_bytes(path))  # a file name may not be UTF-8
    elif not re.fullmatch(r"(/[0-9]*)?", path):
        raise WrongUrl("the database must be a number, as in redis://host:port/0")
    for name in ("protocol", "decode_responses"):
        found.pop(name, None)  # a URL cannot set the protocol or the decoding
    return found


def _patience_of_one(addresses: Sequence[tuple[str, int]], timeout: float) -> float:
    """Seconds that one of several servers may be silent before the next is tried, so that all get a turn."""
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
    # The sentinels have their own user, password and TLS. By default they use TLS if the data servers do.
    asking |= {name: shared.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in shared}
    if to_bool(shared.pop("sentinel_ssl", str(ssl))):
        asking |= {"ssl": True} | {name: value for name, value in shared.items() if name.startswith("ssl_")}
    db = db or shared.pop("db", 0)
    sentinel = Sentinels(addresses, sentinel_kwargs=asking)
    # A hanging primary accepts a connection but stays silent. Meanwhile the sentinels may name another.
    shared |= {"socket_connect_timeout": min(timeout, ANSWER_S), "socket_timeout": min(timeout, ANSWER_S)}
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        service, sentinel, ssl=ssl, db=int(db), retry=Retry(NoBackoff(), 0), **shared
    )
    return SingleServer(pool, sentinel)


def _several(url: str, options: dict[str, Any]) -> tuple[list[tuple[str, int]], dict[str, Any], str]:
    """The addresses in a URL, the options of each connection, and the path without its slash."""
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
