"""`broker consume`: print a consumer's messages and ack them."""

import sys

import click
import msgspec

from http_api.cli.client import Client, at_server
from http_api.cli.options import CONSUMER

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


@click.command()
@CONSUMER
@click.option("--no-ack", is_flag=True, help="Leave the messages to be delivered again (default: ack them).")
@click.option("--follow", is_flag=True, help="Keep waiting for messages. Default: exit when there are none left.")
@click.option("--deliveries", is_flag=True, help="Print id, ack token and deliver count too (default: only the record or the event).")
@at_server
def consume(client: Client, consumer: str, no_ack: bool, follow: bool, deliveries: bool) -> None:
    """Print a consumer's messages as NDJSON and ack them.

    Each is printed as it was stored, until none is left. A message is acked when it is printed: one that is cut off by
    a closed pipe is delivered again.
    """
    path = f"/v1/http-consumers/{consumer}"
    query = {"batch_size": str(_BATCH)} | ({"wait_for": _WAIT} if follow else {})
    while True:
        batch = client.read("GET", path + "/next", _Batch, params=query)
        for delivery in batch.data:
            line = msgspec.json.encode(delivery) if deliveries else bytes(delivery.record) or bytes(delivery.event)
            sys.stdout.buffer.write((msgspec.json.format(line, indent=-1) if b"\n" in line else line) + b"\n")
        sys.stdout.buffer.flush()
        if batch.data and not no_ack:
            client.call("POST", path + "/ack", json={"ack_tokens": [d.ack_token for d in batch.data]})
        if not batch.data and not follow:
            return
