"""Every key that Python names. `lua/keys.lua` has all keys of a stream."""

STREAMS = "broker:streams"  # hash: stream name -> ""
CONSUMERS = "broker:consumers"  # hash: consumer name -> the name of its stream
TOKENS = "broker:tokens"  # hash: SHA-256 of an access token -> its name and scopes
TOKEN_CHANGES = "broker:token-changes"  # noqa: S105 - a key; stream: one entry a change of the table above
AUDIT = "broker:audit"  # stream: one entry a change by an operator, the last 10,000
STARTED = "broker:started"  # string: set once the first start has made its streams
PROBE = "broker:probe"  # string: written by the readiness check


def stream(name: str) -> str:
    """The stream's own key; its hash tag keeps all that belongs to the stream in one cluster slot."""
    return f"broker:{{{name}}}"


def log(name: str) -> str:
    """The Redis Stream that holds the messages."""
    return stream(name) + ":log"


def consumers(name: str) -> str:
    """The set of the names of a stream's consumers."""
    return stream(name) + ":consumers"


def gate(name: str, consumer: str) -> str:
    """The key without which the XREADGROUP that follows the script `fast_read` fails."""
    return f"{stream(name)}:gate:{consumer}"


def wake(name: str) -> str:
    """The Redis Stream that names consumers with something to deliver that the log does not show."""
    return stream(name) + ":wake"


def mark(name: str, mark: str) -> str:
    """The key that a publish leaves which is waited for."""
    return f"{stream(name)}:mark:{mark}"


def beside(key: str) -> str:
    """A key that never exists, in the slot of another one."""
    return key + ":nothing"


def probe(number: int) -> str:
    """One of many keys, to find one on each server of a cluster."""
    return f"{PROBE}:{number}"
