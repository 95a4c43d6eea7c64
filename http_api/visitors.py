"""Open mode: admits programs on this machine, but no web page except the server's own (C2).

A browser sends requests of any web page to a server on loopback: for an image, for a form, or for a host name that the
page's owner resolves to 127.0.0.1. The browser reveals this in headers that a page cannot change.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from broker.errors import Forbidden
from http_api.bodies.bounded_cache import cached

_OPEN = "Without access tokens the server"
_OWN_PAGES = (b"same-origin", b"none")


class Visitors:
    """Checks the headers of requests to an open server that listens on `host`."""

    def __init__(self, host: str) -> None:
        self._bound_to = host.lower()
        self._is_here = cached(self._names_this_machine)

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Forbidden: the Host header names another machine, or a page of another origin sent the request."""
        host = origin = None
        for name, value in headers:
            if name == b"host":
                host = value
                if not self._is_here(value):
                    raise Forbidden(f"{_OPEN} answers to this machine only: the Host header names another one.")
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site" and value not in _OWN_PAGES:
                raise Forbidden(f"{_OPEN} answers no web page of another site.")
        if origin is not None and (host is None or origin.partition(b"://")[2].lower() != host.lower()):
            raise Forbidden(f"{_OPEN} answers no web page of another origin.")

    def _names_this_machine(self, host: bytes) -> bool:
        name = host.decode("latin-1").strip().lower()
        if name.startswith("["):
            name, _, port = name[1:].partition("]")
            port = port.removeprefix(":")
        else:
            name, _, port = name.partition(":")
        if port and not port.isdigit():
            return False
        if name in ("localhost", self._bound_to):
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False
