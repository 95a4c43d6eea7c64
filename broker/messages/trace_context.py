"""W3C trace context: which call a message came from, as two of its headers, `traceparent` and `tracestate` (C62)."""

import re
from collections.abc import Sequence

# A future version may have more parts, which nobody here could read.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# Everybody has to pass on so many characters; more would take the room of the message's own headers.
_TRACESTATE = re.compile(r"[ -~]{1,512}")
_NAMES = frozenset({"traceparent", "tracestate"})


def trace_context(traceparents: Sequence[str], tracestates: Sequence[str] = ()) -> dict[str, str] | None:
    """What a call's headers say of its caller, as headers of a message. None: nothing, or nothing well formed."""
    if len(traceparents) != 1 or not _TRACEPARENT.fullmatch(traceparents[0]):
        return None
    found = {"traceparent": traceparents[0]}
    state = ",".join(tracestates)
    if _TRACESTATE.fullmatch(state):
        found["tracestate"] = state
    return found


def has_trace(headers: dict[str, str]) -> bool:
    """Whether a message's headers say where it came from, in whatever case its client spells them."""
    return any(name.lower() in _NAMES for name in headers)
