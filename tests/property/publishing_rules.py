"""Rules of a random history by which messages come: records, events, delayed ones, and entries of plain clients."""

import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from broker.messages.times import rfc3339
from tests.property.checks import Checks
from tests.property.stream_model import Delayed, Message, order
from tests.property.world import COLLECTIONS

EVENTS = st.tuples(st.sampled_from(COLLECTIONS), st.sampled_from([None, "i", "j"]), st.sampled_from([None, "k", "l"]))


class Publishing(Checks):
    """Publishers."""

    @precondition(lambda self: "records" in self.in_use)
    @rule(key=st.sampled_from("pqrst"), collection=st.sampled_from(COLLECTIONS), change=st.booleans(), deleted=st.booleans())
    def publish_record(self, key: str, collection: str, change: bool, deleted: bool) -> None:
        """A new version, or the same one again."""
        stream = self.streams["records"]
        stream.open(self.now)
        current = stream.current(key)
        message: dict[str, Any]
        if current is not None and not change:
            message = {"id": key, "collection_id": current.collection_id, "data": current.data, "deleted": current.deleted}
        else:
            self.version += 1
            message = {"id": key, "collection_id": collection, "data": self.version, "deleted": deleted}
        [result] = self.run(self.broker.publish("records", [message]))
        if current is not None and not change:
            assert (result.status, result.message_id) == ("unchanged", current.id)
            return
        assert result.status == ("created" if current is None else "deleted" if deleted else "updated")
        if current is not None:
            stream.remove(current.id)
        stream.append(Message(result.message_id, key, message["collection_id"], message["data"], message["deleted"]))

    def one_of_events(self, data: st.DataObject) -> str:
        """An event stream in use."""
        return data.draw(st.sampled_from(sorted(self.in_use - {"records"})), label="stream")

    @precondition(lambda self: self.in_use - {"records"})
    @rule(data=st.data(), batch=st.lists(EVENTS, min_size=1, max_size=4))
    def publish_events(self, data: st.DataObject, batch: list[tuple[str, str | None, str | None]]) -> None:
        """Events, some with an id that may be remembered."""
        self.append_events(self.one_of_events(data), batch)

    def append_events(self, name: str, batch: list[tuple[str, str | None, str | None]]) -> None:
        """Publish them: collection, id, key."""
        stream = self.streams[name]
        messages = []
        for collection, event_id, key in batch:
            self.version += 1
            given = {"id": event_id} if event_id and name == "events" else {}
            messages.append({"collection_id": collection, "data": self.version, "key": key} | given)
        results = self.run(self.broker.publish(name, messages))
        stream.release(self.now)
        for message, result in zip(messages, results, strict=True):
            known = stream.remembered.get(str(message.get("id")))
            if known is not None and stream.now - known[1] < stream.dedupe_window_ms:
                assert (result.status, result.message_id) == ("duplicate", known[0])
                continue
            assert result.status == "created"
            if "id" in message:
                stream.remembered[str(message["id"])] = (result.message_id, stream.now)
            stream.append(Message(result.message_id, str(message["key"] or ""), str(message["collection_id"]), int(str(message["data"]))))

    @precondition(lambda self: "events" in self.in_use)
    @rule(
        collection=st.sampled_from(COLLECTIONS),
        key=st.sampled_from(["", "k"]),
        delay=st.sampled_from([0, 300_000, 900_000]),
        ttl=st.sampled_from([None, 200_000, 700_000]),
    )
    def publish_scheduled(self, collection: str, key: str, delay: int, ttl: int | None) -> None:
        """An event that no consumer sees before its time, or that is not delivered for the first time after it."""
        self.version += 1
        message: dict[str, Any] = {"collection_id": collection, "data": self.version, "key": key or None, "ttl_ms": ttl}
        due_ms = self.run(self.real_ms()) + self.now + delay
        if delay:
            message["deliver_at"] = rfc3339(due_ms)
        [result] = self.run(self.broker.publish("events", [message]))
        assert result.status == "created"
        assert (result.message_id is None) == (delay > 0)
        stream = self.streams["events"]
        stream.release(self.now)
        event = Message(result.message_id or "", key, collection, self.version, lapses_at=stream.now + (ttl or math.inf))
        if delay:
            stream.delayed.append(Delayed(self.now + delay, due_ms, event, ttl or math.inf))
        else:
            stream.append(event)

    @precondition(lambda self: self.in_use - {"records"})
    @rule(data=st.data(), collection=st.sampled_from(COLLECTIONS), count=st.integers(1, 3))
    def plain_xadd(self, data: st.DataObject, collection: str, count: int) -> None:
        """A plain Redis client publishes; limits are applied when the broker next looks."""
        name = self.one_of_events(data)
        for _ in range(count):
            self.version += 1
            ms = max(self.run(self.real_ms()) + self.now, order(self.streams[name].last_id)[0])
            fields = ("collection_id", collection, "data", self.version)
            message_id = self.run(self.store.call("XADD", f"broker:{{{name}}}:log", f"{ms}-*", *fields))
            self.streams[name].append(Message(message_id.decode(), "", collection, self.version))
        self.look_at_stream(name)
