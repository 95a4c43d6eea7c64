"""`broker consume`: print a consumer's messages and ack them."""

import sys
from argparse import Namespace

import msgspec

from http_api.cli.client import Client

_BATCH = 100
_WAIT = "30s"


class _Delivery(msgspec.Struct, omit_defaults=True):
    id: str
    ack_token: str
    deliver_count: int
    record: msgspec.Raw = msgspec.Raw()
    event: msgspec.Raw = msgspec.Raw()


class _Batch(msgspec.Struct):
    data: list[_Delivery]


def run(client: Client, args: Namespace) -> None:
    """Print messages as NDJSON, each as it was stored, until none is left; with --follow for ever.

    With --deliveries each line is a delivery: id, ack token, deliver count, and the message. A message is acked when it is
    printed: one that is cut off by a closed pipe is delivered again.
    """
    path = f"/v1/http-consumers/{args.consumer}"
    query = {"batch_size": str(_BATCH)} | ({"wait_for": _WAIT} if args.follow else {})
    while True:
        batch = client.read("GET", path + "/next", _Batch, params=query)
        for delivery in batch.data:
            line = msgspec.json.encode(delivery) if args.deliveries else bytes(delivery.record) or bytes(delivery.event)
            sys.stdout.buffer.write((msgspec.json.format(line, indent=-1) if b"\n" in line else line) + b"\n")
        sys.stdout.buffer.flush()
        if batch.data and not args.no_ack:
            client.call("POST", path + "/ack", json={"ack_tokens": [d.ack_token for d in batch.data]})
        if not batch.data and not args.follow:
            return
