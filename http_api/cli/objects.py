"""`broker stream`, `consumer`, `record` and `dead-letters`: what an operator does."""

import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from itertools import islice
from typing import Any
from urllib.parse import quote

from msgspec import UNSET

from broker.messages.times import duration_ms, rfc3339
from http_api.cli.client import Client, show, show_rows
from http_api.settings import WrongSetting

# heading -> path in a row
_STREAM_COLUMNS = {
    "name": "name", "kind": "kind", "messages": "info.messages", "bytes": "info.bytes", "consumers": "info.consumers",
    "created": "created_at",
}  # fmt: skip
_CONSUMER_COLUMNS = {
    "name": "name", "stream": "stream_id", "pending": "info.num_pending", "out": "info.num_ack_pending", "retrying": "info.num_retrying",
    "dead": "info.num_dead", "oldest": "info.oldest_pending_at",
    "filters": "filters", "ack wait (ms)": "ack_wait_ms", "max deliver": "max_deliver", "ordering": "ordering", "created": "created_at",
}  # fmt: skip
_OUT_COLUMNS = {
    "id": "id", "worker": "worker", "deliveries": "deliver_count", "delivered": "delivered_at", "expires": "expires_at",
    "expired": "expired", "reason": "reason",
}  # fmt: skip
_RETRY_COLUMNS = {
    "id": "id", "deliveries": "deliver_count", "due": "due_at", "key": "key", "blocked": "blocked", "reason": "reason",
}  # fmt: skip
_SCHEDULED_COLUMNS = {"id": "id", "collection": "collection_id", "key": "key", "deliver at": "deliver_at"}
_GROUP_COLUMNS = {
    "count": "count", "why": "reason", "last reason": "last_nack_reason", "collection": "collection_id", "first": "first_dead_at",
    "last": "last_dead_at",
}  # fmt: skip
_MESSAGE = {"collection": "message.collection_id", "message": "message.id", "upstream id": "message.upstream_id"}
_MESSAGE_COLUMNS = {"id": "id", **_MESSAGE, "inserted": "message.inserted_at"}
_PEEK_COLUMNS = {"id": "id", "deliveries": "deliver_count", **_MESSAGE}
_DEAD_COLUMNS = {
    "id": "id", "why": "reason", "deliveries": "deliver_count", "last reason": "last_nack_reason", "died": "dead_at", **_MESSAGE,
}  # fmt: skip
_STREAM_FIELDS = ("max_messages", "max_age_ms", "dedupe_window_ms", "replicas", "fsync", "metadata")
_CONSUMER_FIELDS = ("ack_wait_ms", "max_deliver", "max_ack_pending", "max_waiting", "backoff_ms", "metadata")


def _given(args: Namespace, *names: str) -> dict[str, Any]:
    """What was given; UNSET is how `none` was read."""
    found = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return {name: None if value is UNSET else value for name, value in found.items()}


def _changes(args: Namespace, *names: str) -> dict[str, Any]:
    if found := _given(args, *names):
        return found
    options = ", ".join("--" + name.replace("_", "-") for name in names)
    raise WrongSetting(f"nothing to change: give one of {options}.")


_AUDIT_COLUMNS = {"time": "time", "who": "who", "what": "what", "object": "object", "outcome": "outcome", "request": "request_id"}


def audit(client: Client, args: Namespace) -> None:
    """`broker audit`."""
    show_rows(islice(client.pages("/v1/audit", limit=min(args.limit, 1000)), args.limit), _AUDIT_COLUMNS)


def stream(client: Client, args: Namespace) -> None:
    """One of the stream commands."""
    match args.action:
        case "create":
            show(client.json("POST", "/v1/streams", json=_given(args, "name", "kind", *_STREAM_FIELDS)))
        case "update":
            show(client.json("PATCH", f"/v1/streams/{args.name}", json=_changes(args, *_STREAM_FIELDS)))
        case "list":
            show_rows(client.pages("/v1/streams"), _STREAM_COLUMNS)
        case "show":
            show(client.json("GET", f"/v1/streams/{args.name}"))
        case "messages":
            page = str(min(args.limit, 1000))
            query = _given(args, "collection_id", "id", "upstream_id", "resource_id", "key", "contains")
            query |= {name: _time(text) for name, text in (("from", args.since), ("to", args.until)) if text is not None}
            order = {"order": "desc"} if args.newest_first else {}
            rows = client.pages(f"/v1/streams/{args.name}/messages", args.after, limit=page, **query | order)
            show_rows(_flat(islice(rows, args.limit)), _MESSAGE_COLUMNS)
        case "scheduled":
            show_rows(client.pages(f"/v1/streams/{args.name}/scheduled"), _SCHEDULED_COLUMNS)
        case "cancel":
            show(client.json("DELETE", f"/v1/streams/{args.name}/scheduled/{_in_path(args.id)}"))
        case "delete":
            show(client.json("DELETE", f"/v1/streams/{args.name}", params={"force": "true"} if args.force else {}))


def record(client: Client, args: Namespace) -> None:
    """The current version of a record."""
    show(client.json("GET", f"/v1/streams/{args.stream}/records/{_in_path(args.id)}"))


def _in_path(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")  # a dot alone would lead elsewhere in an address


def _time(text: str) -> str:
    """A time as it is given, or so long ago. The server says what is wrong with it."""
    try:
        return rfc3339(time.time_ns() // 1_000_000 - duration_ms(text))
    except ValueError:
        return text


def consumer(client: Client, args: Namespace) -> int | None:
    """One of the consumer commands; gives a status where it is not 0."""
    path = f"/v1/http-consumers/{args.name}" if hasattr(args, "name") else ""
    match args.action:
        case "create":
            fields = _given(args, "name", "stream_id", "deliver_policy", "ordering", *_CONSUMER_FIELDS)
            filters: dict[str, list[str]] = {}
            for key, pattern in args.filter or ():
                filters.setdefault(key, []).append(pattern)
            if filters:
                fields["filters"] = {key: found[0] if len(found) == 1 else found for key, found in filters.items()}
            show(client.json("POST", "/v1/http-consumers", json=fields))
        case "update":
            show(client.json("PATCH", path, json=_changes(args, *_CONSUMER_FIELDS)))
        case "list":
            show_rows(client.pages("/v1/http-consumers", info="true", stream_id=args.stream_id), _CONSUMER_COLUMNS)
        case "show":
            show(client.json("GET", path))
        case "delete":
            show(client.json("DELETE", path))
        case "pause":
            show(client.json("POST", path + "/pause", json={"until": args.until}))
        case "resume":
            show(client.json("POST", path + "/resume"))
        case "reset":
            return _reset(client, path, args)
        case "pending":
            show_rows(client.pages(path + "/pending"), _OUT_COLUMNS)
        case "retrying":
            show_rows(client.pages(path + "/retrying"), _RETRY_COLUMNS)
        case "release":
            show(client.json("POST", path + "/pending/release", json=_given(args, "ids", "worker")))
        case "peek":
            found = client.json("GET", path + "/peek", params={"limit": args.limit})
            show_rows(_flat(found.get("data", ())), _PEEK_COLUMNS)
    return None


def _reset(client: Client, path: str, args: Namespace) -> int | None:
    """Say what is forgotten, ask, and forget it. WrongSetting: there is nobody to ask."""
    now = client.json("GET", path)
    policy = args.deliver_policy or now.get("deliver_policy")
    info = now.get("info", {})
    if not args.yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise WrongSetting(f"reset forgets what {args.name} has out, waiting and dead, and there is no terminal to ask; say --yes.")
        sys.stderr.write(
            f"{args.name} will start again from {policy}, and forget {info.get('num_ack_pending')} messages that are out, "
            f"{info.get('num_dead')} dead letters, and which of its messages are done. Go on? [y/N] "
        )
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            sys.stderr.write("nothing was reset\n")
            return 1
    show(client.json("POST", path + "/reset", json={"deliver_policy": policy}))
    return None


def dead_letters(client: Client, args: Namespace) -> None:
    """One of the dead-letters commands."""
    path = f"/v1/http-consumers/{args.consumer}/dead-letters"
    chosen = _given(args, "collection_id", "reason") if args.action in ("list", "redrive") else {}
    match args.action:
        case "list":
            show_rows(_flat(client.pages(path, **chosen)), _DEAD_COLUMNS)
        case "redrive":
            body = chosen | _given(args, "ids", "limit")
            done = client.json("POST", path + "/redrive", json=body | {"dry_run": args.dry_run})
            show({f"would_be_{name}": count for name, count in done.items()} if args.dry_run else done)
        case "summary":
            found = client.json("GET", path + "/summary")
            if sys.stdout.isatty():
                show_rows(found["groups"], _GROUP_COLUMNS)
            else:
                show(found)
        case "purge":
            show(client.json("DELETE", path, params={"ids": ",".join(args.ids)} if args.ids else {"all": "true"}))


def _flat(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The record or the event of each row under one name, for the columns of a table; a pipe gets it as it is."""
    if not sys.stdout.isatty():
        return rows
    return (row | {"message": row.get("record") or row.get("event")} for row in rows)
