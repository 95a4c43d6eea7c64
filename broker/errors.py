"""Errors of the broker, as one small tree. `code` is part of the API; the message is for people."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


class BrokerError(Exception):
    """The base of all errors that this package raises on purpose."""

    code = "INTERNAL"

    @property
    def summary(self) -> str:
        """One sentence that says what is wrong."""
        return str(self)


class InvalidRequest(BrokerError):
    """The request is malformed, or a value is out of range."""

    code = "INVALID_REQUEST"


class InvalidAckToken(BrokerError):
    """A string that is not an ack token."""

    code = "INVALID_ACK_TOKEN"


class Unauthenticated(BrokerError):
    """No valid access token was given."""

    code = "UNAUTHENTICATED"


class Forbidden(BrokerError):
    """The access token is valid, but its scopes do not allow this."""

    code = "FORBIDDEN"


class NotFound(BrokerError):
    """Nothing exists at this address."""

    code = "NOT_FOUND"


class StreamNotFound(NotFound):
    """No stream has this name."""

    code = "STREAM_NOT_FOUND"


class WrongKind(StreamNotFound):
    """The stream was deleted and created again with the other kind."""


class ConsumerNotFound(NotFound):
    """No consumer has this name."""

    code = "CONSUMER_NOT_FOUND"


class RecordNotFound(NotFound):
    """The stream holds no record with this id."""

    code = "RECORD_NOT_FOUND"


class MessageNotFound(NotFound):
    """The stream holds no message with this id."""

    code = "MESSAGE_NOT_FOUND"


class EventNotFound(NotFound):
    """No scheduled event has this id."""

    code = "EVENT_NOT_FOUND"


class Conflict(BrokerError):
    """Conflicts with an existing object."""


class StreamExists(Conflict):
    """A stream of this name exists with other fields."""

    code = "STREAM_EXISTS"


class ConsumerExists(Conflict):
    """A consumer of this name exists with other fields."""

    code = "CONSUMER_EXISTS"


class StreamInUse(Conflict):
    """The stream has consumers."""

    code = "STREAM_IN_USE"


class PayloadTooLarge(BrokerError):
    """A message or a request body is over its limit."""

    code = "PAYLOAD_TOO_LARGE"


class ValidationFailed(BrokerError):
    """Fields of the input are invalid. `errors` maps a field's path to the reasons."""

    code = "VALIDATION_FAILED"

    def __init__(self, errors: Mapping[str, Sequence[str]], summary: str | None = None) -> None:
        self.errors = {path: list(reasons) for path, reasons in errors.items()}
        first_path, first_reasons = next(iter(self.errors.items()))
        super().__init__(summary or f"{first_path}: {first_reasons[0]}.")


class TooManyWaiting(BrokerError):
    """max_waiting calls of this consumer already wait on this server."""

    code = "TOO_MANY_WAITING"


class StoreUnavailable(BrokerError):
    """Redis cannot be reached or refuses to write. Nothing happened."""

    code = "STORE_UNAVAILABLE"


class OutcomeUnknown(BrokerError):
    """The connection was lost after the command was sent. It may have happened."""

    code = "OUTCOME_UNKNOWN"


class StoreFull(BrokerError):
    """Redis is at its memory limit. Nothing happened."""

    code = "STORE_FULL"


class StoreFault(BrokerError):
    """Redis gave a reply that this version does not understand: a defect, or another client edited the keys."""


@contextmanager
def after_a_change() -> Iterator[None]:
    """Turn refusals into OutcomeUnknown: after a change, "nothing happened" would be wrong."""
    try:
        yield
    except (StoreUnavailable, StoreFull) as exc:
        raise OutcomeUnknown("Redis refused to go on after a part of it had happened.") from exc


# The error words of scripts, and the errors that they become.
SCRIPT_ERRORS: dict[str, tuple[type[BrokerError], str]] = {
    "STREAM_NOT_FOUND": (StreamNotFound, "There is no such stream."),
    "WRONG_KIND": (WrongKind, "The stream was deleted, and made again with the other kind."),
    "CONSUMER_NOT_FOUND": (ConsumerNotFound, "There is no such consumer."),
    "RECORD_NOT_FOUND": (RecordNotFound, "The stream holds no such record."),
    "MESSAGE_NOT_FOUND": (MessageNotFound, "The stream holds no such message."),
    "EVENT_NOT_FOUND": (EventNotFound, "No such event waits for its time."),
    "STREAM_EXISTS": (StreamExists, "A stream of this name exists with other fields."),
    "CONSUMER_EXISTS": (ConsumerExists, "A consumer of this name exists with other fields."),
    "STREAM_IN_USE": (StreamInUse, "The stream has consumers; delete them first, or force it."),
}
