"""The commands that have commands: what each takes."""

import argparse
from typing import Any

from broker.access.tokens import SCOPES
from broker.consumers.fields import ConsumerSpec
from broker.streams.lifecycle import StreamSpec
from http_api.cli import functions, looking, objects, store
from http_api.cli.client import at_server
from http_api.cli.options import (
    START,
    actions,
    client_options,
    default_of,
    json_object,
    key_and_pattern,
    name,
    number,
    number_or_none,
    numbers,
    span,
    store_options,
)
from http_api.cli.store import Where

_CLEARED = "; none takes the limit away"


def stream_commands(commands: Any) -> None:
    """`broker stream`."""
    add = actions(commands, "stream", "create, list, show, change or delete streams, or print their messages")
    run = at_server(objects.stream)
    creating = add("create", "create a stream", run)
    creating.add_argument("name", metavar="NAME")
    creating.add_argument("--kind", choices=("records", "events"), help=f"records or events {default_of(StreamSpec, 'kind')}")
    updating = add("update", "change a stream's limits or metadata", run)
    listing, showing = add("list", "list streams and what they hold", run), add("show", "show a stream", run)
    printing = add("messages", "print messages of a stream, or search them", run)
    printing.add_argument("--newest-first", action="store_true", help="begin with the newest (default: with the oldest)")
    ago = "a time, or 1h = an hour ago"
    printing.add_argument("--from", dest="since", metavar="TIME", help=f"appended then or later: {ago} (default: the first one)")
    printing.add_argument("--to", dest="until", metavar="TIME", help=f"appended then or earlier: {ago} (default: now)")
    printing.add_argument("--contains", metavar="TEXT", help="with this text in the JSON of data (default: any)")
    for field in ("id", "upstream-id", "resource-id", "key"):
        printing.add_argument(f"--{field}", metavar=field.upper(), help=f"with this {field.replace('-', '_')} (default: any)")
    printing.add_argument("--after", metavar="ID", help="only what came after this message (default: from the first one)")
    printing.add_argument("--limit", type=number, default=100, metavar="N", help="N at most (default: 100)")
    printing.add_argument("--collection-id", metavar="COLLECTION", help="only of this collection (default: of all)")
    waiting = add("scheduled", "list events that wait for their deliver_at", run)
    cancelling = add("cancel", "take back an event that waits for its deliver_at", run)
    deleting = add("delete", "delete a stream and its messages", run)
    deleting.add_argument("--force", action="store_true", help="delete its consumers too (default: refuse while there are any)")
    for parser, limit, said in ((creating, int, ""), (updating, number_or_none, _CLEARED)):
        parser.add_argument(
            "--max-messages",
            type=limit,
            metavar="N",
            help=f"drop the oldest events beyond N{said}" + _default(parser, creating, "max_messages"),
        )
        parser.add_argument(
            "--max-age-ms", type=limit, metavar="MS", help=f"drop events older than MS{said}" + _default(parser, creating, "max_age_ms")
        )
        parser.add_argument(
            "--dedupe-window-ms", type=int, metavar="MS", help="remember event ids for MS" + _default(parser, creating, "dedupe_window_ms")
        )
        parser.add_argument(
            "--replicas", type=int, metavar="N", help="answer a publish when N replicas have it" + _default(parser, creating, "replicas")
        )
        parser.add_argument(
            "--fsync", action=argparse.BooleanOptionalAction, default=None,
            help="answer a publish when the disk has it" + _default(parser, creating, "fsync"),
        )  # fmt: skip
        parser.add_argument(
            "--metadata", type=json_object, metavar="JSON", help="an object of your own" + _default(parser, creating, "metadata")
        )
    for parser in (updating, showing, printing, waiting, cancelling, deleting):
        parser.add_argument("name", metavar="NAME", type=name)
    cancelling.add_argument("id", metavar="ID", help="the event's id")
    for parser in (creating, updating, listing, showing, printing, waiting, cancelling, deleting):
        client_options(parser)


def _default(parser: argparse.ArgumentParser, creating: argparse.ArgumentParser, field: str) -> str:
    """What is taken where the option is not given: on creation the default of the field, else what it is."""
    return f" {default_of(StreamSpec, field)}" if parser is creating else " (default: as it is)"


def consumer_commands(commands: Any) -> None:
    """`broker consumer`."""
    add = actions(commands, "consumer", "create, list, show, change, delete, pause, resume, reset, or look into consumers")
    run = at_server(objects.consumer)
    creating = add("create", "create a consumer", run)
    creating.add_argument("name", metavar="NAME", nargs="?", help="(default: one is made)")
    creating.add_argument("--stream", dest="stream_id", metavar="STREAM", help=f"what to read {default_of(ConsumerSpec, 'stream_id')}")
    creating.add_argument(
        "--filter", action="append", type=key_and_pattern, metavar="KEY=PATTERN",
        help="only messages whose provider, collection_id or resource_id is PATTERN, or begins so where it ends in *; "
        "repeat for more (default: all messages)",
    )  # fmt: skip
    creating.add_argument("--deliver-policy", metavar="WHERE", help=f"where to start: {START} {default_of(ConsumerSpec, 'deliver_policy')}")
    creating.add_argument("--ordering", choices=("none", "key"), help=f"none or key {default_of(ConsumerSpec, 'ordering')}")
    updating = add("update", "change what may be changed of a consumer", run)
    for parser in (creating, updating):
        for option, kind, metavar, said, default in (
            ("--ack-wait-ms", int, "MS", "how long a delivery is hidden from other workers", "(default: 30000)"),
            ("--max-deliver", int, "N", "deliveries of a message, -1 = no limit", default_of(ConsumerSpec, "max_deliver")),
            ("--max-ack-pending", int, "N", "deliveries out at once", default_of(ConsumerSpec, "max_ack_pending")),
            ("--max-waiting", int, "N", "calls of next that wait at once on a server", default_of(ConsumerSpec, "max_waiting")),
            ("--backoff-ms", numbers, "MS,MS,...", "delays before redeliveries", default_of(ConsumerSpec, "backoff_ms")),
            ("--metadata", json_object, "JSON", "an object of your own", default_of(ConsumerSpec, "metadata")),
        ):
            parser.add_argument(
                option, type=kind, metavar=metavar, help=f"{said} {default if parser is creating else '(default: as it is)'}"
            )
    listing = add("list", "list consumers and their counts", run)
    listing.add_argument("--stream", dest="stream_id", metavar="STREAM", help="only of this stream (default: of all)")
    pausing = add("pause", "deliver nothing until a time, or until resumed", run)
    pausing.add_argument("--until", metavar="TIME", help="an RFC 3339 time (default: until resumed)")
    resetting = add("reset", "forget what is out, waiting and dead, and start again; asks first", run)
    resetting.add_argument("--deliver-policy", metavar="WHERE", help=f"where to start: {START} (default: the consumer's own)")
    resetting.add_argument("--yes", action="store_true", help="do not ask (default: ask, so there must be a terminal)")
    peeking = add("peek", "show the next messages without delivering them", run)
    peeking.add_argument("--limit", type=number, default=10, metavar="N", help="N at most (default: 10)")
    named = [add("show", "show a consumer", run), add("delete", "delete a consumer", run), updating, pausing, resetting, peeking]
    named += [add("resume", "deliver again", run), add("pending", "list what is out", run)]
    releasing = add("release", "make what is out deliverable again at once, uncounted", run)
    chosen = releasing.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "--id", dest="ids", action="append", metavar="ID", help="this message; repeat for more (default: those of the worker)"
    )
    chosen.add_argument("--worker", metavar="WORKER", help="all that this worker has")
    named += [releasing, add("retrying", "list what failed and waits to be delivered again", run)]
    named.append(add("why", "say why nothing comes, and what to do", at_server(looking.why)))
    for parser in named:
        parser.add_argument("name", metavar="NAME", type=name)
    for parser in (creating, listing, *named):
        client_options(parser)


def dead_letter_commands(commands: Any) -> None:
    """`broker dead-letters`."""
    add = actions(commands, "dead-letters", "list, redrive or purge dead letters")
    run = at_server(objects.dead_letters)
    listing = add("list", "list dead letters", run)
    redriving = add("redrive", "put dead letters back for their consumer, all or some", run)
    purging = add("purge", "delete dead letters", run)
    for parser in (listing, redriving, purging, add("summary", "count dead letters by reason and collection", run)):
        parser.add_argument("consumer", metavar="CONSUMER", type=name)
        client_options(parser)
    for parser in (listing, redriving):
        parser.add_argument("--collection-id", metavar="COLLECTION", help="only of this collection (default: of all)")
        parser.add_argument(
            "--reason", choices=("max_deliver", "rejected"), help="only what died so: max_deliver or rejected (default: both)"
        )
    redriving.add_argument("--limit", type=number, metavar="N", help="N at most (default: all)")
    redriving.add_argument("--dry-run", action="store_true", help="only count what would be put back")
    redriving.add_argument("--id", dest="ids", action="append", metavar="ID", help="this one; repeat for more (default: all)")
    chosen = purging.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--id", dest="ids", action="append", metavar="ID", help="this one; repeat for more")
    chosen.add_argument("--all", action="store_true", help="all of them")


def token_commands(commands: Any) -> None:
    """`broker token`."""
    add = actions(commands, "token", "create, list or revoke access tokens, in Redis itself")

    def run(args: argparse.Namespace) -> None:
        store.token(Where.of(args), args)

    creating = add("create", "create a token and print it, once", run)
    creating.add_argument("name", metavar="NAME")
    creating.add_argument("--scope", action="append", default=[], help=f"{SCOPES}; one at least, repeat for more")
    creating.add_argument("--expires", type=span, metavar="TIME", help="how long it holds, such as 12h or 90d (default: for ever)")
    revoking = add("revoke", "make a token invalid", run)
    revoking.add_argument("name", metavar="NAME")
    for parser in (creating, revoking, add("list", "list tokens", run)):
        store_options(parser)


def function_commands(commands: Any) -> None:
    """`broker functions`."""
    add = actions(commands, "functions", "the library of Redis Functions, for clients in any language")
    add("print", "print the library, for FUNCTION LOAD", lambda _: functions.show())
    loading = add("load", "load the library into Redis, instead of another text of it", lambda args: functions.put(Where.of(args)))
    checking = add("check", "say whether Redis has this very library; status 0 = yes", lambda args: functions.check(Where.of(args)))
    for parser in (loading, checking):
        store_options(parser)
