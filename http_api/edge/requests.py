"""Request parser of a connection: stops at the end of the current request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import httptools

from broker.errors import BrokerError, InvalidRequest
from http_api.edge.limits import Limits
from http_api.refusals import HeadersTooLarge, UriTooLong

Headers = list[tuple[bytes, bytes]]


def _malformed() -> BrokerError:
    return InvalidRequest("The request is not HTTP as it is understood here: its method, address, headers or length cannot be read.")


def _no_host() -> BrokerError:
    return InvalidRequest("The request must have one Host header.")


def _unknown_coding() -> BrokerError:
    return InvalidRequest("The only Transfer-Encoding that is understood is chunked.")


# Bytes parsed at once if the end of the request is unknown. They may contain several small requests.
_SMALL = 1024
_HEADER_COST = 256  # bytes of memory per header, besides its text
_COUNTED = frozenset({b"content-length", b"transfer-encoding", b"expect", b"host"})


@dataclass(slots=True)
class Head:
    """The head of a request; `path` is decoded."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: Headers
    version: str
    keep_alive: bool
    expects_continue: bool
    cost: int  # approximate bytes of memory


class Receiver(Protocol):
    """Receives the requests of a connection."""

    def begin(self, head: Head) -> None:
        """A request has begun."""

    def body(self, part: bytes) -> None:
        """A part of its body has arrived."""

    def end(self) -> None:
        """The request is complete."""


class Requests:
    """Parses the requests of a connection with httptools."""

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        self._receiver, self._limits = receiver, limits
        self._parser = _parser(self)
        self._refusal: Callable[[], BrokerError] | None = None
        self._whole = False
        self._left: int | None = 0
        self.in_head = self._in_body = self._offers_upgrade = False
        self._url, self._size, self.unfinished = b"", 0, 0
        self._headers: Headers = []
        self._counted: dict[bytes, bytes] = {}

    @property
    def cost(self) -> int:
        """The approximate bytes of memory of an incomplete head."""
        return self.unfinished + _HEADER_COST * len(self._headers) if self.in_head else 0

    def close(self) -> None:
        """Drop all state and break reference cycles: the garbage collector runs rarely."""
        self.in_head = False
        self._url, self._headers, self._counted = b"", [], {}
        del self._parser, self._receiver

    def feed(self, data: bytes) -> bytes:
        """Parse to the end of a request and return the rest. BrokerError: the request is malformed or too large.

        If several small requests arrived at once, the receiver may get more than one.
        """
        if len(data) <= _SMALL and not self.in_head:
            self._parse(data)
            return b""
        self._whole, start = False, 0
        while start < len(data) and not self._whole:
            step = self._step(data, start)
            if self.in_head:
                self.unfinished += step
                if self.unfinished > self._limits.head_bytes + self._limits.address_bytes:
                    raise self._too_large()
            self._parse(data[start : start + step])
            start += step
        return data[start:]

    def _step(self, data: bytes, start: int) -> int:
        """How many bytes to parse at once without reaching the next request."""
        rest = len(data) - start
        if not self._in_body:
            end = data.find(b"\r\n\r\n", start)
            return end + 4 - start if end >= 0 else min(rest, _SMALL)
        return min(rest, _SMALL if self._left is None else self._left or _SMALL)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            if self._offers_upgrade:
                self._decline(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            raise (self._refusal or _malformed)() from exc

    def _decline(self, rest: bytes) -> None:
        """Parse a request with an Upgrade header again without it: httptools reads no body after one."""
        self._parser, self._offers_upgrade = _parser(self), False
        lines = [b"%b %b HTTP/%b" % (self._method, self._url, self._version.encode())]
        for name, value in self._headers:
            if name == b"connection":
                value = b",".join(option for option in value.split(b",") if option.strip().lower() != b"upgrade")
            if name != b"upgrade":
                lines.append(name + b": " + value)
        self._parse(b"\r\n".join((*lines, b"", b"")))
        if rest:
            self._parse(rest)

    def _too_large(self) -> BrokerError:
        limits = self._limits
        return HeadersTooLarge(f"The headers have more than {limits.head_bytes} bytes, or are more than {limits.headers}.")

    def _too_long(self) -> BrokerError:
        return UriTooLong(f"The address is longer than {self._limits.address_bytes} bytes.")

    # Called by httptools, which wraps exceptions raised here.

    def on_message_begin(self) -> None:
        """A request has begun."""
        self.in_head, self._in_body, self._offers_upgrade = True, False, False
        self._url, self._size, self.unfinished = b"", 0, 0
        self._headers = []
        self._counted = {}

    def on_url(self, part: bytes) -> None:
        """A part of the address has arrived."""
        self._url += part
        if len(self._url) > self._limits.address_bytes:
            self._refuse(self._too_long)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer has arrived. Trailers are dropped: a proxy has not checked them."""
        self._size += len(name) + len(value) + 4
        if self._size > self._limits.head_bytes or len(self._headers) >= self._limits.headers:
            self._refuse(self._too_large)
        if self._in_body:
            return
        name = name.lower()
        if name in _COUNTED:
            if name == b"host" and name in self._counted:
                self._refuse(_no_host)
            if name == b"transfer-encoding" and name in self._counted:
                value = self._counted[name] + b", " + value
            self._counted[name] = value
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser, counted = self._parser, self._counted
        self._method, self._version = parser.get_method(), parser.get_http_version()
        self._offers_upgrade = parser.should_upgrade() and self._method != b"CONNECT"
        if self._offers_upgrade:
            return
        self.in_head, self._in_body = False, True
        size, self._size = self._size, 0
        if counted.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            self._refuse(_unknown_coding)
        self._left = None if b"transfer-encoding" in counted else int(counted.get(b"content-length", b"0"))
        modern = self._version == "1.1"
        if modern and b"host" not in counted:
            self._refuse(_no_host)
        raw_path, query = self._address()
        path = raw_path.decode("ascii")
        self._receiver.begin(
            Head(
                self._method.decode("ascii"), unquote(path) if "%" in path else path, raw_path, query, self._headers,
                self._version,
                modern and parser.should_keep_alive() and self._method != b"CONNECT",
                modern and counted.get(b"expect", b"").lower() == b"100-continue",
                size + len(self._url) + _HEADER_COST * len(self._headers),
            )
        )  # fmt: skip

    def _address(self) -> tuple[bytes, bytes]:
        url = self._url.partition(b"#")[0]
        if not url.startswith(b"/") and b"://" in url:
            parsed = httptools.parse_url(url)
            return parsed.path or b"/", parsed.query or b""
        path, _, query = url.partition(b"?")
        return path, query

    def on_body(self, part: bytes) -> None:
        """A part of the body has arrived."""
        if self._left is not None:
            self._left -= len(part)
        self._receiver.body(part)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if not self._offers_upgrade:
            self._in_body, self._whole = False, True
            self._receiver.end()

    def _refuse(self, refusal: Callable[[], BrokerError]) -> None:
        self._refusal = refusal
        raise ValueError  # for httptools


def _parser(requests: Requests) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(requests)
    # Bytes after a request that closes the connection are dropped without an error.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
