"""Read-only commands: `broker record`, `message`, `top` and `audit`, and the texts of `consumer why`."""

import sys
import time
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from http_api.cli.calls import call, in_path
from http_api.cli.client import Client, at_server
from http_api.cli.options import STREAM, limit
from http_api.cli.parsers import AT_LEAST_1
from http_api.cli.tables import show, show_rows

_STATE_COLUMNS = {
    "consumer": "consumer", "state": "state", "worker": "worker", "deliveries": "deliver_count", "delivered": "delivered_at",
    "expires": "expires_at", "due": "due_at", "reason": "reason",
}  # fmt: skip
_AUDIT_COLUMNS = {"time": "time", "who": "who", "what": "what", "object": "object", "outcome": "outcome", "request": "request_id"}
_HEADINGS = ("consumer", "stream", "pending", "out", "retrying", "dead", "oldest", "in/s", "done/s", "to drain", "idle because")


record = call("record", "Print the current version of a record.", "GET", "/v1/streams/{stream}/records/{id}", STREAM, click.argument("id"))


@click.command()
@limit(100)
@at_server
def audit(client: Client, limit: int) -> None:
    """Print who changed what, newest first."""
    show_rows(islice(client.pages("/v1/audit", limit=min(limit, 1000)), limit), _AUDIT_COLUMNS)


@click.command()
@STREAM
@click.argument("id")
@at_server
def message(client: Client, stream: str, id: str) -> None:
    """Print a message, and its state for each consumer.

    ID is its message id, such as 1718000000000-0.
    """
    found = client.json("GET", f"/v1/streams/{stream}/messages/{in_path(id)}")
    if not sys.stdout.isatty():
        show(found)
        return
    states = found.pop("consumers", [])
    show(found)
    show_rows(states, _STATE_COLUMNS)


def explanation(consumer: dict[str, Any]) -> str:
    """Why a consumer delivers nothing and what to do, in a sentence or two. `consumer`: as the API shows it."""
    info, name = consumer["info"], consumer["name"]
    pending, out = info["num_pending"], info["num_ack_pending"]
    match info["idle_because"]:
        case None:
            return f"{name} has something to deliver: {_count(pending, 'message')} pending. If nothing comes, no worker asks for it."
        case "empty":
            waiting = f" {_count(out, 'message')} out; see: broker consumer pending {name}" if out else ""
            return f"{name} has delivered all that matches it; nothing is pending.{waiting}"
        case "paused":
            until = f"until {consumer['paused_until']}" if consumer.get("paused_until") else "until it is resumed"
            return f"{name} is paused {until}, with {_count(pending, 'message')} pending. Resume it: broker consumer resume {name}"
        case "max_ack_pending":
            since = f" since {info['oldest_ack_pending_at']}" if info["oldest_ack_pending_at"] else ""
            return (
                f"{name} has as many deliveries out as max_ack_pending allows ({out}){since}, with {_count(pending, 'message')} pending. "
                f"See who has them: broker consumer pending {name}. Ack faster, or raise it: "
                f"broker consumer update {name} --max-ack-pending N"
            )
        case "keys":
            return (
                f"{name} has {_count(info['num_blocked'], 'message')} that wait for their key: another message of the key is out or is "
                f"retried. See: broker consumer pending {name}, broker consumer retrying {name}"
            )
        case "retries":
            return (
                f"{name} has {_count(info['num_retrying'], 'message')} that failed and wait for their backoff. "
                f"See when they are due, and why: broker consumer retrying {name}"
            )
        case _:
            return (
                f"{name} starts at {consumer['deliver_policy']}, which is still to come. "
                f"Start it now: broker consumer reset {name} --deliver-policy all"
            )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@click.command()
@click.option("--once", is_flag=True, help="Print it once (default: again and again).")
@click.option("--every", type=AT_LEAST_1, default=2, show_default=True, metavar="SECONDS", help="How often.")
@at_server
def top(client: Client, once: bool, every: int) -> None:
    """Show a live table of consumers: backlog, rates, ages.

    Rates are those since the table before.
    """
    before: dict[str, tuple[float, int, int]] = {}
    while True:
        rows = table(client, before)
        if sys.stdout.isatty() and not once:
            sys.stdout.write("\x1b[2J\x1b[H")
        _print(rows)
        if once:
            return
        time.sleep(every)


def table(client: Client, before: dict[str, tuple[float, int, int]]) -> list[tuple[str, ...]]:
    """One row per consumer, the most urgent first.

    `before`: time, newest number and unfinished messages of the previous table; updated in place.
    """
    newest = {row["name"]: row["info"] for row in client.pages("/v1/streams")}
    found = []
    for consumer in client.pages("/v1/http-consumers", info="true"):
        name, info = consumer["name"], consumer["info"]
        now, undone = time.monotonic(), info["num_pending"] + info["num_ack_pending"]
        came = newest.get(consumer["stream_id"], {}).get("messages", 0)
        into = done = None
        if name in before:
            then, messages, left = before[name]
            into = max(0, came - messages) / (now - then)
            done = max(0.0, into - (undone - left) / (now - then))
        before[name] = (now, came, undone)
        drains = _span(undone / (done - into)) if done is not None and into is not None and done > into else "" if undone else "0s"
        row = (
            name, consumer["stream_id"], str(info["num_pending"]), str(info["num_ack_pending"]), str(info["num_retrying"]),
            str(info["num_dead"]), _age(info["oldest_pending_at"]), _rate(into), _rate(done), drains, info["idle_because"] or "",
        )  # fmt: skip
        found.append((info["num_pending"], row))
    return [row for _, row in sorted(found, key=lambda pair: (-pair[0], pair[1]))]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _age(at: str | None) -> str:
    return "" if at is None else _span((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def _print(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in (_HEADINGS, *rows)) for i in range(len(_HEADINGS))]
    for row in (_HEADINGS, *rows):
        cells = [text.rjust(w) if 2 <= i < 10 else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())
