"""Types of request bodies that the library does not define.

`decode` in broker/messages/validation.py decodes most bodies by these types. `next`, `ack`, `nack` and `extend` are
decoded by hand, for better errors (C4) and speed: endpoints/deliveries.py takes names and bounds from here, and a test
compares it with these types.
"""

from typing import Annotated, Literal

import msgspec

from broker.consumers.batches import Outcome
from broker.messages.incoming import EventMessage, RecordMessage

# Items of any list in a body, and messages of a batch.
MOST = 1000
MAX_WAIT_MS = 300_000
MAX_DELAY_MS = 604_800_000
MAX_REASON = 1024
Tokens = Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST)]


class NackOne(msgspec.Struct, forbid_unknown_fields=True):
    """A delivery to nack: deliver again, release without counting, or reject."""

    ack_token: str
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_DELAY_MS)] | None = None
    outcome: Outcome | None = "retry"
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] | None = None


class NextRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to fetch; the same names serve as query parameters. `wait_for`: ms, or such as 500ms, 30s, 5m."""

    batch_size: Annotated[int, msgspec.Meta(ge=1, le=MOST)] | None = 1
    wait_for: int | str | None = 0
    min_batch: Annotated[int, msgspec.Meta(ge=1, le=MOST)] | None = 1
    worker: Annotated[str, msgspec.Meta(pattern="^\\S{1,64}$")] | None = None
    ack: Annotated[list[str], msgspec.Meta(max_length=MOST)] | None = []
    nack: Annotated[list[NackOne], msgspec.Meta(max_length=MOST)] | None = []


class AckRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Deliveries to ack."""

    ack_tokens: Tokens


class NackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Deliveries to nack: alike by `ack_tokens`, or individually by `nacks`. Without `delay_ms`: the backoff."""

    ack_tokens: Tokens | msgspec.UnsetType | None = msgspec.UNSET
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_DELAY_MS)] | None = None
    nacks: Annotated[list[NackOne], msgspec.Meta(min_length=1, max_length=MOST)] | msgspec.UnsetType | None = msgspec.UNSET


class RedriveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Dead letters to redrive: by id, or by filter."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST)] | None = None
    collection_id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    reason: Literal["max_deliver", "rejected"] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    dry_run: bool | None = False


class ResetRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where to start again."""

    deliver_policy: str


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The end of the pause; null = until it is resumed."""

    until: str | None = None


class ReleaseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Deliveries to release: these messages, or all of a worker."""

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST)] | None = None
    worker: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An access token to create. `expires_in`: ms, or such as 30s, 5m, 12h, 90d; null = it does not expire."""

    name: str
    scopes: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST)]
    expires_in: int | str | None = None


class PublishRecords(msgspec.Struct):
    """Messages for a record stream."""

    messages: Annotated[list[RecordMessage], msgspec.Meta(min_length=1, max_length=MOST)]


class PublishEvents(msgspec.Struct):
    """Messages for an event stream."""

    messages: Annotated[list[EventMessage], msgspec.Meta(min_length=1, max_length=MOST)]
