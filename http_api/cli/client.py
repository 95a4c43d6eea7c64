"""HTTP client of the commands."""

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import click
import httpx
import msgspec

from http_api.cli.options import Run, settings_of
from http_api.cli.proxies import proxy_of
from http_api.settings import WrongSetting, load_as, setting, token

T = TypeVar("T")


class Refused(click.ClickException):
    """The server refused a request, or cannot be reached; the message is one line."""


class Client:
    """A client of a server's API. Refused: the answer is not a success."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        proxy = proxy_of(url)
        try:
            self._http = httpx.Client(
                base_url=url, headers=headers, timeout=httpx.Timeout(60, read=330), trust_env=False, proxy=proxy, verify=_verify(url)
            )
        except (ValueError, ImportError, httpx.InvalidURL) as exc:
            raise WrongSetting(
                f"the proxy {_without_login(proxy or '')} of the environment cannot be used; write http://host:port, "
                "or name the server in NO_PROXY."
            ) from exc
        self.url = _without_login(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> bytes:
        """The body of the answer."""
        try:
            reply = self._http.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as exc:
            raise Refused(f"no answer from {self.url}: {exc or type(exc).__name__}") from exc
        if reply.is_success:
            return reply.content
        try:
            problem = reply.json()
            how = " Give --token, or set BROKER_TOKEN." if reply.status_code == 401 else ""
            raise Refused(f"{problem['code']}: {problem['summary']}{how}")
        except (ValueError, KeyError, TypeError) as exc:
            raise Refused(f"{self.url} answered {reply.status_code}; is it a broker?") from exc

    def read(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        """The body of the answer, decoded as a type."""
        try:
            return msgspec.json.decode(self.call(method, path, **options), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused(f"{self.url} did not answer as a broker does; is it one?") from exc

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The body of the answer, a JSON object."""
        return self.read(method, path, dict[str, Any], **options)

    def pages(self, path: str, after: str | None = None, **query: Any) -> Iterable[dict[str, Any]]:
        """All rows of a list, or those after a cursor."""
        while True:
            page = self.read("GET", path, _Page, params={k: v for k, v in (query | {"after": after}).items() if v is not None})
            yield from page.data
            after = page.next
            if after is None:
                return


class _Page(msgspec.Struct):
    data: list[dict[str, Any]]
    next: str | None


def _verify(url: str) -> ssl.SSLContext | bool:
    """The trusted certificates. WrongSetting: SSL_CERT_FILE or SSL_CERT_DIR cannot be read."""
    if not url.lower().startswith("https:"):
        return False
    try:
        return httpx.create_ssl_context()
    except OSError as exc:
        raise WrongSetting(f"SSL_CERT_FILE or SSL_CERT_DIR: {exc.strerror or exc}.") from exc


def _without_login(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def client(url: str | None, token: str | None) -> Client:
    """A client from options, else from the environment. WrongSetting: the URL or the token is invalid."""
    found = load_as(ClientSettings, {"url": url, "token": token})
    return Client(found.url, found.token)


def _url(text: str) -> str:
    if not _is_url(text):
        shown = "this" if "@" in text else repr(text)  # a password may precede the @
        raise ValueError(f"{shown} is not a URL; write http://host:port")
    return text


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        httpx.URL(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
    except (httpx.InvalidURL, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Settings of the client commands."""

    url: str = setting("http://127.0.0.1:8080", "--url", "BROKER_URL", "The server.", _url)
    token: str | None = setting(None, "--token", "BROKER_TOKEN", "An access token.", token)


def at_server(work: Run) -> Run:
    """A command on a server. Its first argument is a client of the server."""

    @settings_of(ClientSettings)
    @wraps(work)
    def run(url: str | None, token: str | None, **options: Any) -> int | None:
        with client(url, token) as found:
            return work(found, **options)

    return run
