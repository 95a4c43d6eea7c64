"""`broker dead-letters`: list, redrive and purge dead letters."""

import sys
from typing import Any

import click

from http_api.cli.calls import call, rows
from http_api.cli.client import Client, at_server
from http_api.cli.fields import given, options_of
from http_api.cli.options import CONSUMER
from http_api.cli.parsers import AT_LEAST_1
from http_api.cli.tables import MESSAGE, show, show_rows
from http_api.shapes.requests import RedriveRequest

_LETTERS = "/v1/http-consumers/{consumer}/dead-letters"
_COLUMNS = {
    "id": "id", "why": "reason", "deliveries": "deliver_count", "last reason": "last_nack_reason", "died": "dead_at", **MESSAGE,
}  # fmt: skip
_GROUP_COLUMNS = {
    "count": "count", "why": "reason", "last reason": "last_nack_reason", "collection": "collection_id", "first": "first_dead_at",
    "last": "last_dead_at",
}  # fmt: skip
_CHOSEN = options_of(RedriveRequest, only=("collection_id", "reason"))


@click.command()
@CONSUMER
@options_of(RedriveRequest, without=("limit",))
@click.option("--limit", type=AT_LEAST_1, metavar="N", show_default="all", help="How many at most.")
@at_server
def redrive(client: Client, consumer: str, **body: Any) -> None:
    """Put dead letters back for their consumer, all or some."""
    done = client.json("POST", f"{_LETTERS.format(consumer=consumer)}/redrive", json=given(body))
    show({f"would_be_{name}": count for name, count in done.items()} if body["dry_run"] else done)


@click.command()
@CONSUMER
@at_server
def summary(client: Client, consumer: str) -> None:
    """Count dead letters by reason and collection."""
    found = client.json("GET", f"{_LETTERS.format(consumer=consumer)}/summary")
    if sys.stdout.isatty():
        show_rows(found["groups"], _GROUP_COLUMNS)
    else:
        show(found)


def _purged(options: dict[str, Any]) -> dict[str, Any]:
    if bool(options["ids"]) == options["all"]:
        raise click.UsageError("give either --id or --all")
    return {"ids": ",".join(options["ids"])} if options["ids"] else {"all": "true"}


dead_letters = click.Group(
    help="List, redrive or purge dead letters.",
    commands=[
        rows("list", "List dead letters.", _LETTERS, _COLUMNS, CONSUMER, _CHOSEN),
        summary,
        redrive,
        call(
            "purge", "Delete dead letters.", "DELETE", _LETTERS, CONSUMER,
            click.option("--id", "ids", multiple=True, help="This one. Repeat for more."),
            click.option("--all", is_flag=True, help="All of them."),
            sends=_purged,
        ),
    ],
)  # fmt: skip
