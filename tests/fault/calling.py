"""Calls of publishers and workers that wait for their answers, one by one or side by side in threads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx


def call(method: str, url: str, **options: Any) -> Any:
    """The answer of a call that must succeed."""
    return httpx.request(method, url, timeout=30, **options).raise_for_status().json()


def make(url: str, name: str, **fields: Any) -> str:
    """A stream and a consumer of this name; gives the consumer's path."""
    call("POST", url + "/v1/streams", json={"name": name, "kind": "events"})
    call("POST", url + "/v1/http-consumers", json={"name": name, "stream_id": name} | fields)
    return f"/v1/http-consumers/{name}"


def publish(url: str, stream: str, *data: Any) -> None:
    """One event each."""
    call("POST", f"{url}/v1/streams/{stream}/messages", json={"messages": [{"collection_id": "a:b", "data": d} for d in data]})


def fetch(url: str, path: str, **asked: Any) -> Any:
    """The answer of next."""
    return call("GET", url + path + "/next", params=asked)


def data(batch: Any) -> list[Any]:
    """The data of a batch's messages."""
    return [row["event"]["data"] for row in batch["data"]]


@contextmanager
def answered(*calls: Callable[[], Any]) -> Iterator[list[Any]]:
    """Make calls side by side; when the block is left, they have all been answered."""
    answers: list[Any] = []

    def one(call: Callable[[], Any]) -> None:
        answers.append(call())

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(calls)
