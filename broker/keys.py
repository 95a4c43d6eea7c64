"""Redis key names that Python uses. `lua/keys.lua` has all keys of a stream."""

STREAMS = "broker:streams"  # hash: stream name -> ""; `:name` -> version (broker/commands/registry.py)
CONSUMERS = "broker:consumers"  # hash: consumer name -> the name of its stream; `:name` -> version
TOKENS = "broker:tokens"  # hash: SHA-256 of an access token -> its name and scopes
TOKEN_CHANGES = "broker:token-changes"  # noqa: S105 - a key; stream: one entry per change of the table above
AUDIT = "broker:audit"  # stream: one entry per change by an operator, the last 10,000
STARTED = "broker:started"  # string: set once the first start has made its streams
PROBE = "broker:probe"  # string: written by the readiness check


def stream(name: str) -> str:
    """The stream's own key. Its hash tag keeps all keys of the stream in one cluster slot."""
    return f"broker:{{{name}}}"


def log(name: str) -> str:
    """The Redis Stream that holds the messages."""
    return stream(name) + ":log"


def consumers(name: str) -> str:
    """The set of the names of a stream's consumers."""
    return stream(name) + ":consumers"


def gate(name: str, consumer: str) -> str:
    """The key that the script `fast_read` creates; without it the following XREADGROUP fails."""
    return f"{stream(name)}:gate:{consumer}"


def wake(name: str) -> str:
    """The Redis Stream that names consumers with deliverable messages that are not new in the log."""
    return stream(name) + ":wake"


def mark(name: str, mark: str) -> str:
    """The key that marks a publish which waits for replicas or the disk."""
    return f"{stream(name)}:mark:{mark}"


def beside(key: str) -> str:
    """A key that never exists, in the same slot as another key."""
    return key + ":nothing"


def probe(number: int) -> str:
    """One of many keys, for finding one key on each server of a cluster."""
    return f"{PROBE}:{number}"
