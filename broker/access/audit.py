"""Audit log: a Redis Stream of the latest changes, and who made them."""

import msgspec

from broker import keys
from broker.messages.names import message_id
from broker.messages.times import rfc3339
from broker.store.client import Store

ENTRIES = 10_000


class AuditEntry(msgspec.Struct, frozen=True):
    """One change. `who`: the name of an access token; `what`: an operation of the API.

    `outcome`: `done`; `unknown` if the call failed but may have taken effect, fully or in part.
    """

    id: str
    time: str
    who: str
    what: str
    object: str
    request_id: str
    outcome: str


class Audit:
    """The audit log of a store. It keeps the last 10,000 entries, or a few more."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, who: str, what: str, object: str, request_id: str = "", outcome: str = "done") -> None:
        """Add an entry, timed by Redis. BrokerError: Redis refused the entry or did not confirm it."""
        fields = ("who", who, "what", what, "object", object, "request_id", request_id, "outcome", outcome)
        await self._store.call("XADD", keys.AUDIT, "MAXLEN", "~", ENTRIES, "*", *fields)

    async def page(self, after: str | None = None, limit: int = 100) -> tuple[list[AuditEntry], str | None]:
        """A page of entries, newest first, and the cursor of the next one. InvalidRequest: `after` is not a cursor."""
        end = f"({message_id(after)}" if after else "+"
        rows = await self._store.call("XREVRANGE", keys.AUDIT, end, "-", "COUNT", limit + 1)
        entries = [_entry(name.decode(), fields) for name, fields in rows[:limit]]
        return entries, entries[-1].id if len(rows) > limit else None


def _entry(name: str, fields: list[bytes]) -> AuditEntry:
    values = {field.decode(): value.decode(errors="replace") for field, value in zip(fields[::2], fields[1::2], strict=True)}
    texts = [values.get(field, "") for field in ("who", "what", "object", "request_id", "outcome")]
    return AuditEntry(name, rfc3339(int(name.partition("-")[0])), *texts)
