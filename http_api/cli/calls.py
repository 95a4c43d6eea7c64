"""Builds commands that make one API call: arguments go into the path, options into the body or the query."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import click

from http_api.cli.client import Client, at_server
from http_api.cli.fields import given
from http_api.cli.options import Run
from http_api.cli.tables import flat, show, show_rows

Adds = Callable[[Run], Run]


def call(name: str, words: str, method: str, path: str, *parameters: Adds, sends: Callable[..., Any] = given) -> click.Command:
    """A command that prints the answer. `sends` makes the body or the query from the options."""

    def work(client: Client, **options: Any) -> None:
        place, rest = _placed(path, options)
        sent = sends(rest)
        part = "params" if method in ("GET", "DELETE") else "json"
        show(client.json(method, place, **({part: sent} if sent else {})))

    return _command(name, words, parameters, work)


def rows(name: str, words: str, path: str, columns: Mapping[str, str], *parameters: Adds, **query: str) -> click.Command:
    """A command that prints all rows of a list, with columns as `show_rows` takes them."""

    def work(client: Client, **options: Any) -> None:
        place, rest = _placed(path, options)
        show_rows(flat(client.pages(place, **query, **rest)), columns)

    return _command(name, words, parameters, work)


def in_path(text: str) -> str:
    """An id as a part of a path."""
    return quote(text, safe="").replace(".", "%2E")  # a bare dot would be resolved


def _placed(path: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path with its arguments, and the other options."""
    rest = {name: value for name, value in options.items() if f"{{{name}}}" not in path}
    return path.format(**{name: in_path(value) for name, value in options.items() if name not in rest}), rest


def _command(name: str, words: str, parameters: tuple[Adds, ...], work: Run) -> click.Command:
    command = at_server(work)
    for add in reversed(parameters):
        command = add(command)
    return click.command(name, help=words)(command)
