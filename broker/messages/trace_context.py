"""W3C trace context: the headers `traceparent` and `tracestate` of messages (C62)."""

import re
from collections.abc import Sequence

# A future version may have more parts, with unknown meaning.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# The standard requires everyone to pass on 512 characters. More would take room from the message's own headers.
_TRACESTATE = re.compile(r"[ -~]{1,512}")
_NAMES = frozenset({"traceparent", "tracestate"})


def trace_context(traceparents: Sequence[str], tracestates: Sequence[str] = ()) -> dict[str, str] | None:
    """The trace context of a call as headers of a message. None: it is missing or malformed."""
    if len(traceparents) != 1 or not _TRACEPARENT.fullmatch(traceparents[0]):
        return None
    found = {"traceparent": traceparents[0]}
    state = ",".join(tracestates)
    if _TRACESTATE.fullmatch(state):
        found["tracestate"] = state
    return found


def has_trace(headers: dict[str, str]) -> bool:
    """Whether a message's headers have a trace context. Case does not matter."""
    return any(name.lower() in _NAMES for name in headers)
