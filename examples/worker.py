"""A robust worker that needs only the standard library: `python worker.py CONSUMER`."""

import http.client
import json
import os
import random
import signal
import sys
import time
import urllib.error
import urllib.request
from typing import Any

SERVER = os.environ.get("BROKER_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("BROKER_TOKEN", "")
WAIT_S = float(os.environ.get("WORKER_WAIT_S", "20"))  # how long a call waits for messages
TIMEOUT_S = WAIT_S + 10  # a call without an answer for so long has failed


class Worker:
    """Pulls messages of one consumer until it gets a signal."""

    def __init__(self, consumer: str) -> None:
        self.address = f"{SERVER}/v1/http-consumers/{consumer}"
        self.name = f"{os.uname().nodename}-{os.getpid()}"
        self.stopping = False

    def stop(self, *_: object) -> None:
        """Finish the current batch, then end."""
        self.stopping = True

    def run(self) -> None:
        """Fetch, work, settle. The call that fetches a batch settles the previous one."""
        settled: dict[str, Any] = {}
        while not self.stopping:
            wanted = {"batch_size": 10, "wait_for": int(WAIT_S * 1000), "worker": self.name}
            settled = self.work(self.call("/next", wanted | settled)["data"])
        if settled.get("ack"):
            self.call("/ack", {"ack_tokens": settled["ack"]})
        if settled.get("nack"):
            self.call("/nack", {"nacks": settled["nack"]})

    def work(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        """Handle each message. A message that fails is nacked with the reason."""
        acks, nacks = [], []
        for delivery in batch:
            try:
                if self.stopping:
                    nacks.append({"ack_token": delivery["ack_token"], "outcome": "release"})
                    continue
                handle(delivery.get("record") or delivery["event"])
                acks.append(delivery["ack_token"])
            except Exception as exc:
                nacks.append({"ack_token": delivery["ack_token"], "reason": f"{type(exc).__name__}: {exc}"[:1024]})
        return {"ack": acks, "nack": nacks}

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a POST. Any call here may be repeated, so it is, until an answer or a signal comes."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {TOKEN}"} if TOKEN else {})
        pause = 0.5
        while True:
            request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except urllib.error.HTTPError as exc:
                trouble = f"{exc.code} {exc.reason}"
                if exc.code != 429 and exc.code < 500:
                    raise SystemExit(f"{exc.code}: {exc.read().decode()}") from exc
            except (OSError, http.client.HTTPException) as exc:
                trouble = f"no answer: {exc}"
            print(trouble, file=sys.stderr, flush=True)
            until = time.monotonic() + pause * random.uniform(0.5, 1.5)
            while time.monotonic() < until and not self.stopping:
                time.sleep(0.1)
            if self.stopping:
                raise SystemExit("stopped; messages that are not settled are delivered again after their ack wait")
            pause = min(2 * pause, 30)


def handle(message: dict[str, Any]) -> None:
    """The work. Make it idempotent: a message may come more than once."""
    print(message["id"], json.dumps(message["data"]), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python worker.py CONSUMER")
    worker = Worker(sys.argv[1])
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    worker.run()
