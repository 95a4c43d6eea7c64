"""Calls that are written down: what was asked, when, and what was answered."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.fault.history.lanes import Plain, abandoned, attempt, deliveries, published, rows
from tests.fault.history.operations import (
    Control,
    Delivery,
    Fetch,
    Look,
    Message,
    Noted,
    Outcome,
    PlainAck,
    Publish,
    Rules,
    Settle,
)
from tests.support.api import Api, Json

COUNTS = ("num_pending", "num_ack_pending", "num_dead", "num_redelivered")
Op = TypeVar("Op", Publish, Fetch, Settle, PlainAck, Control, Look)


@dataclass
class Recorder:
    """The operations of a round. `apis` are the lanes by name but for `plain`."""

    apis: dict[str, Api]
    plain: Plain
    operations: list[Noted] = field(default_factory=list)

    def _note(self, kind: type[Op], lane: str, began: float, outcome: Outcome, error: str, **fields: Any) -> Op:
        op = kind(lane=lane, began=began, ended=time.time(), outcome=outcome, error=error, **fields)
        self.operations.append(op)
        return op

    async def publish(self, lane: str, stream: str, kind: str, messages: Sequence[Message]) -> Publish:
        """Publish in one call."""
        began = time.time()
        outcome, answer, error = await attempt(self.apis[lane].publish(stream, [published(m, kind) for m in messages]))
        reported = rows(answer) if answer else []
        return self._note(Publish, lane, began, outcome, error, stream=stream, messages=[*messages], rows=reported)

    async def add(self, stream: str, message: Message) -> Publish:
        """XADD."""
        began = time.time()
        outcome, added, error = await attempt(self.plain.add(stream, message))
        return self._note(Publish, "plain", began, outcome, error, stream=stream, messages=[message], rows=added or [])

    async def fetch(self, lane: str, rules: Rules, batch: int, wait: float = 0.0, patience: float | None = None) -> Fetch:
        """`next`; the client goes away after `patience` seconds."""
        began = time.time()
        call = self.apis[lane].next(rules.name, batch, 1, round(wait * 1000))
        outcome, answer, error = await attempt(call if patience is None else abandoned(call, patience))
        return self._fetched(lane, rules, began, batch, outcome, answer, error)

    async def settle_and_fetch(self, lane: str, rules: Rules, batch: int, tokens: list[str]) -> Fetch:
        """Acks and a `next` in one call: two operations of the same time."""
        began = time.time()
        outcome, answer, error = await attempt(self.apis[lane].settle_and_fetch(rules.name, batch, tokens, []))
        stale = answer["settled"]["stale"] if answer else []
        self._note(Settle, lane, began, outcome, error, consumer=rules.name, how="ack", tokens=tokens, stale=stale)
        return self._fetched(lane, rules, began, batch, outcome, answer, error)

    async def settle(self, lane: str, rules: Rules, how: str, tokens: list[str], delay: float | None = None) -> Settle:
        """ack, extend, or nack with an outcome."""
        api, began = self.apis[lane], time.time()
        if how == "ack":
            call = api.ack(rules.name, tokens)
        elif how == "extend":
            call = api.extend(rules.name, tokens)
        else:
            ms = {} if delay is None else {"delay_ms": round(delay * 1000)}
            call = api.nack_each(rules.name, [{"ack_token": token, "outcome": how} | ms for token in tokens])
        outcome, answer, error = await attempt(call)
        stale = answer["stale"] if answer else []
        return self._note(Settle, lane, began, outcome, error, consumer=rules.name, how=how, tokens=tokens, stale=stale, delay=delay)

    async def read(self, rules: Rules, count: int) -> Fetch:
        """XREADGROUP."""
        began = time.time()
        outcome, found, error = await attempt(self.plain.read(rules.stream, rules.name, count))
        return self._note(Fetch, "plain", began, outcome, error, consumer=rules.name, batch=count, deliveries=found or [])

    async def xack(self, rules: Rules, ids: list[str]) -> PlainAck:
        """XACK."""
        began = time.time()
        outcome, acked, error = await attempt(self.plain.ack(rules.stream, rules.name, ids))
        return self._note(PlainAck, "plain", began, outcome, error, consumer=rules.name, ids=ids, acked=acked or 0)

    async def control(self, lane: str, rules: Rules, what: str) -> Control:
        """pause, resume, reset, redrive."""
        api, began = self.apis[lane], time.time()
        calls = {
            "reset": lambda: api.reset_consumer(rules.name, "all"),
            "redrive": lambda: api.redrive(rules.name),
            "pause": lambda: api.pause_consumer(rules.name),
            "resume": lambda: api.resume_consumer(rules.name),
        }
        outcome, _, error = await attempt(calls[what]())
        return self._note(Control, lane, began, outcome, error, consumer=rules.name, what=what)

    async def look(self, lane: str, rules: Rules, patience: float = 20.0) -> Look:
        """The counts, within `patience` seconds."""
        began = time.time()
        outcome, answer, error = await attempt(abandoned(self.apis[lane].get_consumer(rules.name), patience))
        counts = {name: answer["info"][name] for name in COUNTS} if answer else {}
        return self._note(Look, lane, began, outcome, error, consumer=rules.name, **counts)

    def _fetched(self, lane: str, rules: Rules, began: float, batch: int, outcome: Outcome, answer: Json | None, error: str) -> Fetch:
        info = answer["info"] if answer else {}
        counts = {name: info.get(name) for name in ("num_pending", "num_ack_pending")}
        found: list[Delivery] = deliveries(answer) if answer else []
        return self._note(Fetch, lane, began, outcome, error, consumer=rules.name, batch=batch, deliveries=found, **counts)
