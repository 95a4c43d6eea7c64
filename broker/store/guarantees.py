"""Guarantees of the Redis in use: persistence, eviction, version (C47)."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from redis.exceptions import BusyLoadingError

from broker import keys
from broker.errors import BrokerError, StoreFault
from broker.store import disk
from broker.store.client import Store
from broker.store.error_replies import forbidden

logger = logging.getLogger("broker")

OLDEST = (7, 0)
LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Guarantees:
    """The findings, and warnings for the user. With several primaries, a warning about any of them counts."""

    server: str
    persistence: str
    eviction: str
    memory: str
    replicas: str
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """The findings, one per line."""
        return [
            f"server       {self.server}",
            f"persistence  {self.persistence}",
            f"eviction     {self.eviction}",
            f"memory       {self.memory}",
            f"replicas     {self.replicas}",
        ]


async def loaded(store: Store) -> None:
    """Return when Redis has loaded its data, which may take minutes. Raises the errors of `Store.pipeline`."""
    said = False
    while isinstance((await store.pipeline(keys.PROBE, ("PING",)))[0], BusyLoadingError):
        if not said:
            logger.warning("Redis is loading its data; the start waits for it")
            said = True
        await asyncio.sleep(LOOK_AGAIN_S)


async def examine(store: Store) -> Guarantees:
    """Examine Redis; in a cluster, every primary. If CONFIG is not available (managed servers), INFO must do.

    What the Redis user may not read is unknown, and gets a warning.
    """
    found = [await _examine_one(store, key) for key in await store.primaries()]
    if len(found) == 1:
        return found[0]
    return Guarantees(
        server=f"{_distinct(p.server for p in found)}, a cluster of {len(found)} primaries",
        persistence=_distinct(p.persistence for p in found),
        eviction=_distinct(p.eviction for p in found),
        memory="; ".join(p.memory for p in found),
        replicas=", ".join(p.replicas for p in found),
        warnings=tuple(dict.fromkeys(warning for p in found for warning in p.warnings)),
    )


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


async def _examine_one(store: Store, key: str) -> Guarantees:
    """The guarantees of the server that holds a key."""
    info = await _info(store, key)
    config = {}
    for name in ("appendonly", "appendfsync", "save", "maxmemory-policy"):
        try:
            reply = await store.call("CONFIG", "GET", name, at=key)
            config[name] = reply[1].decode() if reply else ""
        except BrokerError:
            config[name] = "unknown"
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    warnings = []
    if version and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        warnings.append(f"{name} {version} is older than 7.0, which the broker needs.")
    policy = info.get("maxmemory_policy", config["maxmemory-policy"])
    if policy == "unknown":
        warnings.append("Redis does not tell its eviction policy; any but noeviction may drop messages.")
    elif policy != "noeviction":
        warnings.append(f"The eviction policy {policy} may drop messages; set maxmemory-policy noeviction.")
    found = await disk.look(store, key)
    refusal = None if found.can_change else found.reason
    if refusal and (names := await _streams_with_fsync(store)):
        some = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        warnings.append(f"Streams have fsync: true ({some}), but that {refusal}. Each publish to them is answered 504.")
    if info.get("aof_enabled") == "1" or config["appendonly"] == "yes":
        persistence = f"append-only file, fsync {config['appendfsync']}"
        if config["appendfsync"] == "everysec":
            persistence += ": a power failure may lose the last second"
        if refusal:
            persistence += f"; a stream with fsync: true {refusal}"
        elif config["appendfsync"] != "always":
            persistence += ", but nothing of streams with fsync: true"
    elif config["save"] not in ("", "unknown"):
        persistence = f"snapshots ({config['save']}): a crash loses what came after the last one"
        warnings.append("There is no append-only file: a crash loses what came after the last snapshot.")
    elif config["save"] == "unknown":
        persistence = "unknown: Redis does not tell"
        warnings.append("Redis does not tell whether it keeps data on disk; without, a restart of it loses every message.")
    else:
        persistence = "none: a restart loses everything"
        warnings.append("Nothing is kept on disk: a restart of Redis loses every message.")
    if info.get("role") == "slave":
        warnings.append("This Redis is a replica; the broker must reach a primary.")
    limit = int(info.get("maxmemory", "0"))
    memory = f"{int(info.get('used_memory', '0')) / 1e6:.1f} MB used, " + (f"limit {limit / 1e6:.0f} MB" if limit else "no limit")
    memory, server = (memory, f"{name} {version}") if version else ("unknown", "a Redis of unknown version")
    return Guarantees(server, persistence, policy, memory, info.get("connected_slaves", "unknown"), tuple(warnings))


async def _info(store: Store, key: str) -> dict[str, str]:
    """The fields of INFO; empty if the user may not read them."""
    try:
        return _parse((await store.call("INFO", "everything", at=key)).decode())
    except BrokerError as exc:
        if forbidden(exc) or isinstance(exc, StoreFault):  # StoreFault: the command was renamed
            return {}
        raise


async def _streams_with_fsync(store: Store) -> list[str]:
    """The names of the streams with `fsync`."""
    names = sorted(name.decode() for name in await store.call("HKEYS", keys.STREAMS))
    settings = await asyncio.gather(*(store.call("HGET", keys.stream(name), "fsync") for name in names))
    return [name for name, fsync in zip(names, settings, strict=True) if fsync == b"1"]


def _parse(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
