"""`broker stream`: streams and their messages."""

import time
from itertools import islice
from typing import Any

import click

from broker.messages.times import duration_ms, rfc3339
from broker.streams.lifecycle import StreamChanges, StreamSpec
from http_api.cli.calls import call, rows
from http_api.cli.client import Client, at_server
from http_api.cli.fields import changes, options_of
from http_api.cli.options import NAME, limit
from http_api.cli.tables import MESSAGE, flat, show_rows

_STREAMS, _STREAM = "/v1/streams", "/v1/streams/{name}"
_COLUMNS = {
    "name": "name", "kind": "kind", "messages": "info.messages", "bytes": "info.bytes", "consumers": "info.consumers",
    "created": "created_at",
}  # fmt: skip
_SCHEDULED_COLUMNS = {"id": "id", "collection": "collection_id", "key": "key", "deliver at": "deliver_at"}
_CHANGED = options_of(StreamChanges, without=("name", "kind"), default="as it is")
_ID = click.argument("id")
_FORCE = click.option("--force", is_flag=True, help="Delete its consumers too (default: refuse while there are any).")
_AGO = "a time, or 1h = an hour ago"


@click.command()
@NAME
@click.option("--newest-first", is_flag=True, help="Begin with the newest (default: with the oldest).")
@click.option("--from", "since", metavar="TIME", show_default="the first one", help=f"Appended then or later: {_AGO}.")
@click.option("--to", "until", metavar="TIME", show_default="now", help=f"Appended then or earlier: {_AGO}.")
@click.option("--contains", show_default="any", help="With this text in the JSON of data.")
@click.option("--id", show_default="any", help="With this id.")
@click.option("--upstream-id", show_default="any", help="With this upstream_id.")
@click.option("--resource-id", show_default="any", help="With this resource_id.")
@click.option("--key", show_default="any", help="With this key.")
@click.option("--collection-id", show_default="any", help="Of this collection.")
@click.option("--after", metavar="ID", show_default="from the first one", help="Only what came after this message.")
@limit(100)
@at_server
def messages(
    client: Client, name: str, newest_first: bool, since: str | None, until: str | None, after: str | None, limit: int, **query: Any
) -> None:
    """Print messages of a stream, or search them."""
    query |= {"from": _time(since), "to": _time(until), "order": "desc" if newest_first else None}
    found = client.pages(f"/v1/streams/{name}/messages", after, limit=str(min(limit, 1000)), **query)
    show_rows(flat(islice(found, limit)), {"id": "id", **MESSAGE, "inserted": "message.inserted_at"})


def _time(text: str | None) -> str | None:
    """A time, unchanged, or a duration as that long ago. The server validates it."""
    try:
        return None if text is None else rfc3339(time.time_ns() // 1_000_000 - duration_ms(text))
    except ValueError:
        return text


stream = click.Group(
    help="Create, list, show, change or delete streams, or print their messages.",
    commands=[
        call("create", "Create a stream.", "POST", _STREAMS, options_of(StreamSpec)),
        call("update", "Change a stream's limits or metadata.", "PATCH", _STREAM, NAME, _CHANGED, sends=changes),
        rows("list", "List streams and what they hold.", _STREAMS, _COLUMNS),
        call("show", "Show a stream.", "GET", _STREAM, NAME),
        messages,
        rows("scheduled", "List events that wait for their deliver_at.", f"{_STREAM}/scheduled", _SCHEDULED_COLUMNS, NAME),
        call("cancel", "Take back a scheduled event.", "DELETE", f"{_STREAM}/scheduled/{{id}}", NAME, _ID),
        call("delete", "Delete a stream and its messages.", "DELETE", _STREAM, NAME, _FORCE),
    ],
)
