"""What the error replies of Redis mean: which broker error each becomes."""

import logging

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from broker.errors import SCRIPT_ERRORS, BrokerError, StoreFault, StoreFull, StoreUnavailable

logger = logging.getLogger("broker")

# Replies by which Redis refuses a command before it does anything.
REFUSALS = (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    TryAgainError,
)
# Of these, those that another server may not answer, or the same one a little later.
PASSING = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_REFUSAL_WORDS = {
    "BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "READONLY", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN",
}  # fmt: skip


def from_reply(error: RedisError) -> BrokerError:
    """What an error reply of Redis means to a caller."""
    text = str(error)
    if isinstance(error, ExecAbortError):
        text = text.partition("because of: ")[2] or text
    word = text.partition(" ")[0]
    if isinstance(error, OutOfMemoryError) or word == "OOM":
        return StoreFull("Redis is at its memory limit; nothing was stored.")
    if isinstance(error, REFUSALS) or word in _REFUSAL_WORDS:
        logger.warning("Redis refuses commands: %s", _without_arguments(text))
        return StoreUnavailable("Redis does not take commands at the moment; nothing happened.")
    if word == "NOGROUP":
        word = "CONSUMER_NOT_FOUND"
    if word in SCRIPT_ERRORS:
        kind, summary = SCRIPT_ERRORS[word]
        return kind(summary)
    logger.error("Redis gave an unexpected error: %s", _without_arguments(text))
    return StoreFault("Redis gave an answer that the broker does not understand.")


def forbidden(error: BrokerError) -> bool:
    """Whether it is for the Redis user's rights that a command was refused."""
    return isinstance(error.__cause__, NoPermissionError)


def _without_arguments(text: str) -> str:
    """Redis quotes what it does not understand, which may be a message."""
    return text.partition(", with args")[0]
