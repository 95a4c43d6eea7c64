"""The way of the client commands to a server, and how they print what they got."""

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from http_api.settings import WrongSetting


class Refused(Exception):
    """The server refused a request, or cannot be reached; the message is one line."""


class Client:
    """A server's API. Refused: any answer but a success."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(60, read=330))
        self.url = url

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

    def json(self, method: str, path: str, **options: Any) -> Any:
        """The decoded body of the answer."""
        try:
            return msgspec.json.decode(self.call(method, path, **options))
        except msgspec.DecodeError as exc:
            raise Refused(f"{self.url} did not answer with JSON; is it a broker?") from exc

    def pages(self, path: str, **query: Any) -> Iterable[dict[str, Any]]:
        """All rows of a list."""
        after: str | None = None
        while True:
            page = self.json("GET", path, params={k: v for k, v in (query | {"after": after}).items() if v is not None})
            yield from page["data"]
            after = page["next"]
            if after is None:
                return


def client(url: str | None, token: str | None) -> Client:
    """A client by options, else by the environment. WrongSetting: the URL or the token is none."""
    source, text = _given("--url", url, "BROKER_URL")
    text = "http://127.0.0.1:8080" if text is None else text
    if not _is_url(text):
        raise WrongSetting(f"{source}: {text!r} is not a URL; write http://host:port.")
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


def show_rows(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print rows: a table of some columns on a terminal, whole objects as NDJSON in a pipe."""
    if not sys.stdout.isatty():
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    cells = [list(columns), *([_cell(row, column) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(row: dict[str, Any], column: str) -> str:
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
