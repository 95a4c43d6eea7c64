"""`broker stream` and `broker consumer`: create, list, show, delete."""

from argparse import Namespace
from typing import Any

from http_api.cli.client import Client, show, show_rows

_STREAM_COLUMNS = ("name", "kind", "info.messages", "info.bytes", "info.consumers", "created_at")
_CONSUMER_COLUMNS = ("name", "stream_id", "filters", "ack_wait_ms", "max_deliver", "ordering", "created_at")


def _given(args: Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def stream(client: Client, args: Namespace) -> None:
    """One of the stream commands."""
    match args.action:
        case "create":
            fields = _given(args, "name", "kind", "max_messages", "max_age_ms", "dedupe_window_ms", "metadata")
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
