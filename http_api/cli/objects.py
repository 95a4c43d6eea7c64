"""`broker stream`, `broker consumer` and `broker dead-letters`: what an operator does."""

import sys
from argparse import Namespace
from typing import Any

from http_api.cli.client import Client, show, show_rows

_STREAM_COLUMNS = ("name", "kind", "info.messages", "info.bytes", "info.consumers", "created_at")
_PENDING_COLUMNS = ("id", "deliver_count", "delivered_at", "expires_at", "reason")
_PEEK_COLUMNS = ("id", "deliver_count", "message.collection_id", "message.id", "message.upstream_id")
_DEAD_COLUMNS = ("id", "reason", "deliver_count", "last_nack_reason", "dead_at", "message.collection_id", "message.id")
_CONSUMER_COLUMNS = ("name", "stream_id", "filters", "ack_wait_ms", "max_deliver", "ordering", "created_at")


def _given(args: Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def stream(client: Client, args: Namespace) -> None:
    """One of the stream commands."""
    match args.action:
        case "create":
            fields = _given(args, "name", "kind", "max_messages", "max_age_ms", "dedupe_window_ms", "replicas", "fsync", "metadata")
            show(client.json("POST", "/v1/streams", json=fields))
        case "list":
            show_rows(client.pages("/v1/streams"), _STREAM_COLUMNS)
        case "show":
            show(client.json("GET", f"/v1/streams/{args.name}"))
        case "delete":
            show(client.json("DELETE", f"/v1/streams/{args.name}", params={"force": "true"} if args.force else {}))


def consumer(client: Client, args: Namespace) -> None:
    """One of the consumer commands."""
    match args.action:
        case "create":
            fields = _given(
                args, "name", "stream_id", "ack_wait_ms", "max_deliver", "max_ack_pending", "max_waiting", "deliver_policy",
                "ordering", "backoff_ms", "metadata",
            )  # fmt: skip
            filters: dict[str, list[str]] = {}
            for key, pattern in args.filter or ():
                filters.setdefault(key, []).append(pattern)
            if filters:
                fields["filters"] = {key: found[0] if len(found) == 1 else found for key, found in filters.items()}
            show(client.json("POST", "/v1/http-consumers", json=fields))
        case "list":
            show_rows(client.pages("/v1/http-consumers", stream_id=args.stream_id), _CONSUMER_COLUMNS)
        case "show":
            show(client.json("GET", f"/v1/http-consumers/{args.name}"))
        case "delete":
            show(client.json("DELETE", f"/v1/http-consumers/{args.name}"))
        case "pause":
            show(client.json("POST", f"/v1/http-consumers/{args.name}/pause", json={"until": args.until}))
        case "resume":
            show(client.json("POST", f"/v1/http-consumers/{args.name}/resume"))
        case "reset":
            show(client.json("POST", f"/v1/http-consumers/{args.name}/reset", json={"deliver_policy": args.deliver_policy}))
        case "pending":
            show_rows(client.pages(f"/v1/http-consumers/{args.name}/pending"), _PENDING_COLUMNS)
        case "peek":
            found = client.json("GET", f"/v1/http-consumers/{args.name}/peek", params={"limit": args.limit})
            show_rows((_flat(row) for row in found["data"]), _PEEK_COLUMNS)


def dead_letters(client: Client, args: Namespace) -> None:
    """One of the dead-letters commands."""
    path = f"/v1/http-consumers/{args.consumer}/dead-letters"
    chosen = _given(args, "collection_id", "reason") if args.action != "purge" else {}
    match args.action:
        case "list":
            show_rows((_flat(row) for row in client.pages(path, **chosen)), _DEAD_COLUMNS)
        case "redrive":
            body = {"ids": args.ids} if args.ids else chosen | _given(args, "limit")
            show(client.json("POST", path + "/redrive", json=body | {"dry_run": args.dry_run}))
        case "purge":
            show(client.json("DELETE", path, params={"ids": ",".join(args.ids)} if args.ids else {"all": "true"}))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The record or the event of a row under one name, for the columns of a table; a pipe gets it as it is."""
    return row if not sys.stdout.isatty() else row | {"message": row.get("record") or row.get("event")}
