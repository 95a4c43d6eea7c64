"""Publish confirmation: waits for replicas and for the disk (the settings `replicas` and `fsync` of a stream)."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from broker import keys
from broker.commands.group_commit import GroupCommit
from broker.errors import BrokerError
from broker.store import disk
from broker.store.client import Store

logger = logging.getLogger("broker")

# How long to wait for replicas and the disk.
WAIT_MS = 2000
MARK_MS = 60_000
# How long to wait for the other replicas: any of them may take over, not only the fastest.
OTHERS_MS = 100
MOST_REPLICAS = 1000


class Mark(NamedTuple):
    """The mark of a publish that waits for confirmation: lua/shared/durable.lua."""

    replicas: int
    fsync: bool
    name: str
    weight: int = 1


class Durability:
    """Confirms publishes. Concurrent publishes to one stream share one wait."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # WAIT delays the commands after it, so each stream has its own connections for it.
        self._stores: dict[str, Store] = {}
        self._followers: dict[str, int] = {}
        self._commit: GroupCommit[str, Mark, list[bool], bool] = GroupCommit(self._wait, lambda _, confirmed: confirmed)

    async def confirm(self, stream: str, mark: Mark) -> bool:
        """Whether the replicas and the disk have the messages of a mark, as the stream requires."""
        try:
            return await self._commit(stream, mark)
        except BrokerError as exc:
            logger.warning("a publish to %s could not be confirmed: %s", stream, exc)
            return False

    async def _wait(self, stream: str, marks: Sequence[Mark]) -> list[bool]:
        key = keys.stream(stream)
        # A server with the mark has the messages before it, and the waits cover this write.
        commands: list[tuple[str | int, ...]] = [("PEXPIRE", keys.mark(stream, mark.name), MARK_MS) for mark in marks]
        wanted = max(mark.replicas for mark in marks)
        if wanted:
            others = ("WAIT", self._followers.get(stream, MOST_REPLICAS), OTHERS_MS)
            commands += (("WAIT", wanted, WAIT_MS), others, ("ROLE",))
        fsync = any(mark.fsync for mark in marks)
        if fsync:
            commands += (("WAITAOF", 1, 0, WAIT_MS), disk.SETTINGS)
        store = self._stores.get(stream)
        if store is None:
            # Redis answers a finished wait before the next one begins.
            store = self._stores[stream] = self._store.separate(WAIT_MS / 1000)
        replies = await store.pipeline(key, *commands)
        if fsync and disk.parsed(replies[-1]).can_change:  # it has restarted since
            await disk.sync_always(store, key)
            replies = await store.pipeline(key, *commands)
        role = replies[len(marks) + 2] if wanted else None
        self._followers[stream] = len(role[2]) if isinstance(role, list) and role[0] == b"master" else wanted
        for reply in replies:
            if isinstance(reply, Exception) and reply is not role:
                logger.warning("a publish to %s could not be confirmed: %s", stream, reply)
        on_replicas = replies[len(marks)] if wanted else 0
        on_disk, doubt = (replies[-2], disk.parsed(replies[-1]).reason) if fsync else (None, None)
        if doubt:
            logger.warning("a publish to %s could not be confirmed: fsync %s", stream, doubt)
        return [
            found == 1
            and (not mark.replicas or (isinstance(on_replicas, int) and on_replicas >= mark.replicas))
            and (not mark.fsync or (isinstance(on_disk, list) and on_disk[0] >= 1 and not doubt))
            for mark, found in zip(marks, replies[: len(marks)], strict=True)
        ]

    async def close(self) -> None:
        """Close the connections."""
        for store in self._stores.values():
            await store.close()
