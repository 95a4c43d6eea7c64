"""`broker consumer`: manage consumers, and show their messages."""

import sys
from typing import Any

import click

from broker.consumers.fields import ConsumerChanges, ConsumerSpec
from http_api.cli.calls import call, rows
from http_api.cli.client import Client, at_server
from http_api.cli.fields import changes, given, options_of
from http_api.cli.inspection import explanation
from http_api.cli.options import NAME, limit
from http_api.cli.tables import MESSAGE, flat, show, show_rows
from http_api.settings import WrongSetting
from http_api.shapes.requests import PauseRequest, ReleaseRequest, ResetRequest

_CONSUMERS, _CONSUMER = "/v1/http-consumers", "/v1/http-consumers/{name}"
_COLUMNS = {
    "name": "name", "stream": "stream_id", "pending": "info.num_pending", "out": "info.num_ack_pending",
    "retrying": "info.num_retrying", "dead": "info.num_dead", "oldest": "info.oldest_pending_at", "filters": "filters",
    "ack wait (ms)": "ack_wait_ms", "max deliver": "max_deliver", "ordering": "ordering", "created": "created_at",
}  # fmt: skip
_OUT_COLUMNS = {
    "id": "id", "worker": "worker", "deliveries": "deliver_count", "delivered": "delivered_at", "expires": "expires_at",
    "expired": "expired", "reason": "reason",
}  # fmt: skip
_RETRY_COLUMNS = {
    "id": "id", "deliveries": "deliver_count", "due": "due_at", "key": "key", "blocked": "blocked", "reason": "reason",
}  # fmt: skip
_FIXED = ("name", "stream_id", "deliver_policy", "filters", "ordering")
_CHANGED = options_of(ConsumerChanges, without=_FIXED, default="as it is")
_OF_STREAM = click.option("--stream", "stream_id", show_default="of all", help="Only of this stream.")


@click.command()
@NAME
@options_of(ResetRequest, default="the consumer's own")
@click.option("--yes", is_flag=True, help="Do not ask (default: ask, so there must be a terminal).")
@at_server
def reset(client: Client, name: str, deliver_policy: str | None, yes: bool) -> int | None:
    """Forget what is out, waiting and dead, and start again; asks first."""
    now = client.json("GET", f"{_CONSUMERS}/{name}")
    policy = deliver_policy or now.get("deliver_policy")
    if not yes and not _agreed(name, policy, now.get("info", {})):
        sys.stderr.write("nothing was reset\n")
        return 1
    show(client.json("POST", f"{_CONSUMERS}/{name}/reset", json={"deliver_policy": policy}))
    return None


def _agreed(name: str, policy: object, info: dict[str, Any]) -> bool:
    """Say what will be forgotten, and ask. WrongSetting: there is no terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise WrongSetting(f"reset forgets what {name} has out, waiting and dead, and there is no terminal to ask; say --yes.")
    sys.stderr.write(
        f"{name} will start again from {policy}, and forget {info.get('num_ack_pending')} messages that are out, "
        f"{info.get('num_dead')} dead letters, and which of its messages are done. Go on? [y/N] "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@click.command()
@NAME
@limit(10)
@at_server
def peek(client: Client, name: str, limit: int) -> None:
    """Show the next messages without delivering them."""
    found = client.json("GET", f"{_CONSUMERS}/{name}/peek", params={"limit": limit})
    show_rows(flat(found.get("data", ())), {"id": "id", "deliveries": "deliver_count", **MESSAGE})


@click.command()
@NAME
@at_server
def why(client: Client, name: str) -> None:
    """Say why nothing comes, and what to do."""
    print(explanation(client.json("GET", f"{_CONSUMERS}/{name}")))


def _released(fields: dict[str, Any]) -> dict[str, Any]:
    if len(found := given(fields)) != 1:
        raise click.UsageError("give either --id or --worker")
    return found


consumer = click.Group(
    help="Create, list, show, change, delete, pause, resume, reset, or look into consumers.",
    commands=[
        call("create", "Create a consumer; without a NAME one is made.", "POST", _CONSUMERS, options_of(ConsumerSpec)),
        call("update", "Change what may be changed of a consumer.", "PATCH", _CONSUMER, NAME, _CHANGED, sends=changes),
        rows("list", "List consumers and their counts.", _CONSUMERS, _COLUMNS, _OF_STREAM, info="true"),
        call("show", "Show a consumer.", "GET", _CONSUMER, NAME),
        call("delete", "Delete a consumer.", "DELETE", _CONSUMER, NAME),
        call(
            "pause", "Deliver nothing until a time, or until resumed.", "POST", f"{_CONSUMER}/pause", NAME, options_of(PauseRequest),
        ),
        call("resume", "Deliver again.", "POST", f"{_CONSUMER}/resume", NAME),
        reset,
        why,
        peek,
        rows("pending", "List what is out.", f"{_CONSUMER}/pending", _OUT_COLUMNS, NAME),
        call(
            "release", "Make what is out deliverable again at once, uncounted.", "POST", f"{_CONSUMER}/pending/release", NAME,
            options_of(ReleaseRequest), sends=_released,
        ),
        rows("retrying", "List what failed and waits to be delivered again.", f"{_CONSUMER}/retrying", _RETRY_COLUMNS, NAME),
    ],
)  # fmt: skip
