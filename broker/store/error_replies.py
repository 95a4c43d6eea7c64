"""Maps error replies of Redis to broker errors."""

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

# Replies that refuse a command before it has any effect.
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
# Temporary refusals: another server may accept the command, or the same one a little later.
PASSING = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_REFUSAL_WORDS = {
    "BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "READONLY", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN",
}  # fmt: skip


def from_reply(error: RedisError) -> BrokerError:
    """The broker error for an error reply of Redis."""
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
    """Whether a command was refused because the Redis user lacks the right."""
    return isinstance(error.__cause__, NoPermissionError)


def _without_arguments(text: str) -> str:
    """The text without quoted arguments, which may contain a message."""
    return text.partition(", with args")[0]
