"""Search: pages of a stream's messages, read and filtered in bounded steps."""

from typing import Any, NamedTuple

import msgspec

from broker.commands.engine import Engine, room_of
from broker.commands.replies import MessageRows, MessagesHead, parse_reply
from broker.messages.outgoing import complete, label_of
from broker.store.watch import order

# The most that one call examines. Then the search continues from its cursor.
MAX_ENTRIES, MAX_BYTES = 10_000, 8 << 20
# The most that one script examines (lua/shared/entries.lua).
_ENTRIES_A_STEP, _BYTES_A_STEP = 500, 512 << 10
# The scripts search only for the first bytes of a text. Lua compares at every position, so a long text could take
# seconds.
_NEEDLE_BYTES = 64
_LAST_SEQ = (1 << 64) - 1


class StoredMessage(msgspec.Struct, frozen=True):
    """A message of the stream: its id, `record` or `event`, and its JSON."""

    id: str
    label: str
    json: bytes


class Search(msgspec.Struct, frozen=True):
    """The criteria of a search; None = any. `from_ms` and `to_ms`: when the message was appended, inclusive.

    `id` is a record's, an event's or a message's. `contains` is text in the JSON of `data`.
    """

    collection_id: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    id: str | None = None
    upstream_id: str | None = None
    resource_id: str | None = None
    key: str | None = None
    contains: str | None = None
    newest_first: bool = False

    def bounds(self) -> tuple[str, str]:
        """The message id to start after, and the one to end at; empty = none."""
        first, last = self.from_ms or 0, self.to_ms
        if self.newest_first:
            return ("" if last is None else f"{last + 1}-0"), f"{first}-0"
        return (f"{first - 1}-{_LAST_SEQ}" if first > 0 else ""), ("" if last is None else f"{last}-{_LAST_SEQ}")

    def needles(self) -> list[bytes]:
        """Bytes that every matching body contains. Other bodies may contain them too."""
        fields = [msgspec.json.encode(text) for text in (self.upstream_id, self.resource_id, self.key) if text is not None]
        if self.id is not None and not _is_message_id(self.id):
            fields.append(msgspec.json.encode(self.id))
        return [text[:_NEEDLE_BYTES] for text in (*fields, (self.contains or "").encode()) if text]

    def matches(self, message_id: str, json: bytes) -> bool:
        """Whether a message meets all criteria."""
        if not self._looks_inside:
            return True
        found = _FIELDS.decode(json)
        return (
            (self.id is None or self.id in (found.id, message_id))
            and (self.upstream_id is None or self.upstream_id == found.upstream_id)
            and (self.resource_id is None or self.resource_id == found.resource_id)
            and (self.key is None or self.key == found.key)
            and (not self.contains or self.contains.encode() in bytes(found.data))
        )

    @property
    def _looks_inside(self) -> bool:
        return any((self.id is not None, self.upstream_id is not None, self.resource_id is not None, self.key is not None, self.contains))


class _Fields(msgspec.Struct):
    data: msgspec.Raw
    id: str | None = None
    upstream_id: str | None = None
    resource_id: str | None = None
    key: str | None = None


_FIELDS = msgspec.json.Decoder(_Fields)


def _is_message_id(text: str) -> bool:
    ms, _, seq = text.partition("-")
    return ms.isdigit() and seq.isdigit()


class Page(NamedTuple):
    """Messages, the id to continue after (None = no more), and the number of messages examined."""

    messages: list[StoredMessage]
    next: str | None
    scanned: int


async def search(engine: Engine, stream: str, what: Search, after: str | None, limit: int) -> Page:
    """Up to `limit` matching messages, in stream order or newest first. StreamNotFound."""
    begin, end = what.bounds()
    position: Any = after or begin
    if after and begin and not what.newest_first:
        position = max(after, begin, key=order)
    elif after and begin:
        position = min(after, begin, key=order)
    found, room, scanned, seen = list[StoredMessage](), engine.scripts.max_answer_bytes, 0, 0
    until: Any = end
    exact = True  # the scripts returned only messages that match
    while True:  # up to the last message of the first step: new messages must not prolong it
        before, missing = position, limit - len(found)
        reply = await engine.run_ready(
            "messages", stream, position, missing if exact else _ENTRIES_A_STEP, what.collection_id or "", until, room,
            int(what.newest_first), *what.needles(),
        )  # fmt: skip
        (_, position, until, looked, size), rows = parse_reply(reply, MessagesHead, MessageRows)
        for message_id, head, text in zip(rows.id, rows.head, complete(stream, *rows), strict=True):
            if not what.matches(message_id.decode(), text):
                exact = False
            elif missing:
                found.append(StoredMessage(message_id.decode(), label_of(head), text))
                room, missing = room - room_of([head], [text]), missing - 1
            else:  # there are more than requested
                position = found[-1].id.encode()
                break
        scanned, seen = scanned + looked, seen + size
        spent = scanned > MAX_ENTRIES - _ENTRIES_A_STEP or seen > MAX_BYTES - _BYTES_A_STEP
        if not position or not missing or position == before or spent:
            return Page(found, position.decode() or None, scanned)
