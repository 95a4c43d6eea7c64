"""`broker demo`: a guided tour over HTTP, on its own server and Redis."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator

import click
import msgspec

from http_api.cli.client import Client, Refused

_CUSTOMERS = 30
_WORKERS = 4


@click.command()
def demo() -> None:
    """Take a guided tour on sample data, in some seconds.

    It publishes, consumes with parallel workers, nacks, lets a delivery expire, and looks at a dead letter.
    """
    with _server() as url:
        _say(f"A server of its own runs at {url}, over an embedded Valkey in a temporary directory.")
        client = Client(url, None)
        _records(client)
        _workers(client)
        _redelivery(client)
        _dead_letters(client)
        _say("To go on: `broker serve` runs a server, and docs/start.md shows its calls with curl.")


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="broker-demo-") as data_dir:
        command = [sys.executable, "-m", "http_api.cli.main", "serve", "--port", "0", "--data-dir", data_dir, "--log-level", "warning"]
        # Ignore settings that are meant for a real server, above all its Redis.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - this very program
        try:
            assert process.stderr is not None  # noqa: S101 - asked for above
            first = process.stderr.readline()
            found = re.search(r"http://\S+", first)
            if not found:
                raise Refused(f"the server did not start: {first.strip()}")
            client = Client(found[0], None)
            for _ in range(200):
                with contextlib.suppress(Refused):
                    client.call("GET", "/health/ready")
                    break
                time.sleep(0.05)
            yield found[0]
        finally:
            process.terminate()
            process.wait()


def _say(text: str) -> None:
    print(f"\n{text}")


def _did(text: str) -> None:
    print(f"  {text}")


def _customer(number: int, plan: str) -> dict[str, object]:
    return {"collection_id": "stripe:customers", "upstream_id": f"cus_{number:03}", "data": {"id": f"cus_{number:03}", "plan": plan}}


def _records(client: Client) -> None:
    _say("1. A record stream holds the latest version of each object once.")
    path = "/v1/streams/records/messages"
    for title, plan in (("30 customers", "free"), ("the same again", "free"), ("the same, changed", "paid")):
        answer = client.json("POST", path, json={"messages": [_customer(i, plan) for i in range(_CUSTOMERS)]})
        _did(f"POST {path}: {title} -> {_json(answer['info'])}")


def _workers(client: Client) -> None:
    _say(f"2. A consumer shares its messages out among any number of workers; here {_WORKERS}. One nacks now and then.")
    client.json("POST", "/v1/http-consumers", json={"name": "demo", "filters": {"provider": "stripe"}, "ack_wait_ms": 1000})
    handled: Counter[int] = Counter()
    nacked: Counter[int] = Counter()

    def work(number: int) -> None:
        path, mine = "/v1/http-consumers/demo", Client(client.url, None)
        while batch := mine.json("GET", path + "/next", params={"batch_size": "3", "wait_for": "300ms"})["data"]:
            tokens = [delivery["ack_token"] for delivery in batch]
            time.sleep(0.02)  # the work
            if number == 0 and not nacked[number]:
                nacked[number] += mine.json("POST", path + "/nack", json={"ack_tokens": tokens[:1]})["nacked"]
                tokens = tokens[1:]
            if tokens:
                handled[number] += mine.json("POST", path + "/ack", json={"ack_tokens": tokens})["acked"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(_WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(_WORKERS):
        _did(f"worker {number}: acked {handled[number]}, nacked {nacked[number]}")
    _did(f"together {sum(handled.values())} acked of {_CUSTOMERS}; the consumer says {_json(_counts(client, 'demo'))}")


def _redelivery(client: Client) -> None:
    _say("3. What is not settled within ack_wait_ms (here 1 s) is delivered again, with a new token.")
    client.json("POST", "/v1/streams/records/messages", json={"messages": [_customer(900, "free")]})
    path = "/v1/http-consumers/demo"
    first = client.json("GET", path + "/next")["data"][0]
    _did(f"delivered, deliver_count {first['deliver_count']}; the worker crashes")
    second = client.json("GET", path + "/next", params={"wait_for": "5s"})["data"][0]
    _did(f"delivered again, deliver_count {second['deliver_count']}")
    stale = client.json("POST", path + "/ack", json={"ack_tokens": [first["ack_token"]]})
    _did(f"the first token is stale: acked {stale['acked']}, stale {len(stale['stale'])}")
    _did(f"the second one counts: {_json(client.json('POST', path + '/ack', json={'ack_tokens': [second['ack_token']]}))}")


def _dead_letters(client: Client) -> None:
    _say("4. A message that fails max_deliver times (here 3) is kept as a dead letter.")
    client.json("POST", "/v1/streams/events/messages", json={"messages": [{"collection_id": "github:issues", "data": {"number": 1}}]})
    client.json("POST", "/v1/http-consumers", json={"name": "poison", "stream_id": "events", "max_deliver": 3})
    path = "/v1/http-consumers/poison"
    while batch := client.json("GET", path + "/next")["data"]:
        _did(f"delivered, deliver_count {batch[0]['deliver_count']}; nacked")
        client.json("POST", path + "/nack", json={"ack_tokens": [batch[0]["ack_token"]]})
    letter = client.json("GET", path + "/dead-letters")["data"][0]
    what = f"{letter['reason']} after {letter['deliver_count']} deliveries, data {_json(letter['event']['data'])}"
    _did(f"dead letter {letter['id']}: {what}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _counts(client: Client, consumer: str) -> dict[str, int]:
    info: dict[str, int] = client.json("GET", f"/v1/http-consumers/{consumer}")["info"]
    return info
