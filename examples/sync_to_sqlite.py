"""A copy of a record stream in SQLite: `python sync_to_sqlite.py CONSUMER FILE`. It ends when the copy is complete.

The table and the acks are not one transaction, so a message may come twice. The upsert is guarded by `updated_idx`:
older versions never overwrite newer ones, even if messages repeat or come out of order.
"""

import json
import os
import sqlite3
import sys
import urllib.request
from typing import Any

SERVER = os.environ.get("BROKER_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("BROKER_TOKEN", "")
UPSERT = """
INSERT INTO records (id, idx, deleted, data) VALUES (:id, :updated_idx, :deleted, :data)
ON CONFLICT (id) DO UPDATE SET idx = :updated_idx, deleted = :deleted, data = :data WHERE idx < :updated_idx
"""


def fetch(consumer: str, acks: list[str]) -> list[dict[str, Any]]:
    """Settle the last batch and fetch the next one, in one call."""
    body = json.dumps({"batch_size": 100, "wait_for": "1s", "ack": acks}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {TOKEN}"} if TOKEN else {})
    request = urllib.request.Request(f"{SERVER}/v1/http-consumers/{consumer}/next", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        deliveries: list[dict[str, Any]] = json.load(answer)["data"]
        return deliveries


def sync(consumer: str, path: str) -> None:
    """Copy until no message arrives for a second."""
    table = sqlite3.connect(path)
    table.execute("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, idx INTEGER, deleted INTEGER, data TEXT)")
    acks: list[str] = []
    while batch := fetch(consumer, acks):
        with table:  # a transaction
            for delivery in batch:
                record = delivery["record"]
                table.execute(UPSERT, record | {"data": json.dumps(record["data"])})
        acks = [delivery["ack_token"] for delivery in batch]
    table.close()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        sys.exit("usage: python sync_to_sqlite.py CONSUMER FILE")
    sync(sys.argv[1], sys.argv[2])
