"""The way of the client commands to a server, and how they print what they got."""

import json
import os
import re
import ssl
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from http_api.cli.proxies import proxy_of
from http_api.settings import WrongSetting

T = TypeVar("T")


class Refused(Exception):
    """The server refused a request, or cannot be reached; the message is one line."""


class Client:
    """A server's API. Refused: any answer but a success."""

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
            raise Refused(f"{problem['code']}: {problem['summary']}")
        except (ValueError, KeyError, TypeError) as exc:
            raise Refused(f"{self.url} answered {reply.status_code}; is it a broker?") from exc

    def read(self, method: str, path: str, kind: type[T], **options: Any) -> T:
        """The body of the answer as a type."""
        try:
            return msgspec.json.decode(self.call(method, path, **options), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused(f"{self.url} did not answer as a broker does; is it one?") from exc

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The object that is the body of the answer."""
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
    """Whom to believe who it is. WrongSetting: SSL_CERT_FILE or SSL_CERT_DIR cannot be read."""
    if not url.lower().startswith("https:"):
        return False
    try:
        return httpx.create_ssl_context()
    except OSError as exc:
        raise WrongSetting(f"SSL_CERT_FILE or SSL_CERT_DIR: {exc.strerror or exc}.") from exc


def _without_login(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def at_server(work: Callable[[Client, Namespace], int | None]) -> Callable[[Namespace], int | None]:
    """A command that works at the server of its options."""

    def run(args: Namespace) -> int | None:
        with client(args.url, args.token) as found:
            return work(found, args)

    return run


def client(url: str | None, token: str | None) -> Client:
    """A client by options, else by the environment. WrongSetting: the URL or the token is none."""
    source, text = _given("--url", url, "BROKER_URL")
    text = "http://127.0.0.1:8080" if text is None else text
    if not _is_url(text):
        shown = "this" if "@" in text else repr(text)  # which may have a password before the @
        raise WrongSetting(f"{source}: {shown} is not a URL; write http://host:port.")
    source, secret = _given("--token", token, "BROKER_TOKEN")
    if secret and not re.fullmatch(r"[!-~]+", secret):
        raise WrongSetting(f"{source}: a token has visible ASCII characters only.")
    return Client(text, secret)


def _given(option: str, value: str | None, variable: str) -> tuple[str, str | None]:
    return (option, value) if value is not None else (variable, os.environ.get(variable) or None)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        httpx.URL(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
    except (httpx.InvalidURL, ValueError):
        return False


def show(value: Any) -> None:
    """Print one object: indented on a terminal, one line in a pipe."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def show_rows(rows: Iterable[dict[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows: a table on a terminal, by heading and path of each column; whole objects as NDJSON in a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    cells = [list(columns), *([_cell(row, path) for path in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(row: dict[str, Any], path: str) -> str:
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
