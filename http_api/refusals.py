"""Errors that only the edge raises."""

from broker.errors import BrokerError


class RequestTimeout(BrokerError):
    """The request did not arrive in time."""

    code = "REQUEST_TIMEOUT"


class UriTooLong(BrokerError):
    """Path and query are too long."""

    code = "URI_TOO_LONG"


class HeadersTooLarge(BrokerError):
    """The headers, or the trailers, are too large."""

    code = "HEADERS_TOO_LARGE"
