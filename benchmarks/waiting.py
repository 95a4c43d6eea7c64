"""Cost of many waiting calls: bursts for calls of one consumer, and calls that wait on many streams.

usage: python -m benchmarks.waiting [--calls 1 64 400] [--streams 1 60 600] [--rounds 5]

Burst: one publish with as many messages as calls wait; the time until the last call is answered. Streams: one call
waits on each; the time until one of them is answered, and the load of the server and Redis when idle and when busy.
"""

import argparse
import json
import re
import select
import socket
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import redis

from benchmarks.http_load import BODY
from benchmarks.wakeup import cpu_seconds
from tests.support.processes import ServeProcess, serving, valkey_pid


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """An HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def publish_request(stream: str, count: int) -> bytes:
    """A publish of `count` events."""
    return request("POST", f"/v1/streams/{stream}/messages", json.dumps({"messages": [BODY] * count}).encode())


class Sockets:
    """Raw connections to a server."""

    def __init__(self, url: str, count: int) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._all = [socket.create_connection((host, int(port))) for _ in range(count + 1)]
        self.publisher = self._all.pop()
        self._poll = select.epoll()
        for connection in self._all:
            self._poll.register(connection, select.EPOLLIN)
        self._by_fd = {connection.fileno(): connection for connection in self._all}

    def wait(self, paths: Iterable[str]) -> None:
        """Send a waiting call on each."""
        for connection, path in zip(self._all, paths, strict=True):
            connection.sendall(request("GET", path))

    def answers(self, count: int) -> list[bytes]:
        """The next `count` answers, in order of arrival."""
        found: list[bytes] = []
        while len(found) < count:
            found += [self._by_fd[fd].recv(1 << 16) for fd, _ in self._poll.poll(30)]
        return found

    def close(self) -> None:
        """Close them."""
        self._poll.close()
        for connection in (*self._all, self.publisher):
            connection.close()


def make(url: str, name: str) -> str:
    """Create a stream and a consumer. Returns the consumer's path."""
    httpx.post(url + "/v1/streams", json={"name": name, "kind": "events"}).raise_for_status()
    consumer = {"name": name, "stream_id": name, "max_waiting": 10_000, "max_ack_pending": 1_000_000}
    httpx.post(url + "/v1/http-consumers", json=consumer).raise_for_status()
    return f"/v1/http-consumers/{name}"


def until_waiting(url: str, count: int) -> None:
    """Return when `count` calls wait, after their first look."""
    while f"broker_waiting_calls {float(count)}" not in httpx.get(url + "/metrics").text:
        pass
    time.sleep(0.1)


def burst(url: str, path: str, count: int, rounds: int) -> float:
    """The median of the milliseconds from the start of the publish to the last answer."""
    took = []
    sockets = Sockets(url, count)
    for _ in range(rounds):
        sockets.wait([path + "/next?wait_for=60s"] * count)
        until_waiting(url, count)
        start = time.perf_counter()
        sockets.publisher.sendall(publish_request("burst", count))
        answers = sockets.answers(count)
        took.append((time.perf_counter() - start) * 1000)
        sockets.publisher.recv(1 << 20)
        tokens = [re.findall(rb'"ack_token":"([^"]*)"', answer) for answer in answers]
        assert [len(found) for found in tokens] == [1] * count
        body = {"ack_tokens": [found[0].decode() for found in tokens]}
        httpx.post(f"{url}{path}/ack", json=body).raise_for_status()
    sockets.close()
    return statistics.median(took)


def streams(server: ServeProcess, redis_url: str, redis_pid: int, count: int, rounds: int) -> str:
    """One waiting call on each of many streams."""
    url, names = server.url, [f"s{n}-of-{count}" for n in range(count)]
    paths = [make(url, name) + "/next?wait_for=60s" for name in names]
    sockets, took = Sockets(url, count), []
    sockets.wait(paths)
    until_waiting(url, count)
    with redis.Redis.from_url(redis_url) as client:
        connections = int(client.info("clients")["connected_clients"]) - 1
    host, _, port = url.removeprefix("http://").partition(":")
    for n in range(rounds):
        name = names[n * 7 % count]
        start = time.perf_counter()
        sockets.publisher.sendall(publish_request(name, 1))
        [_] = sockets.answers(1)
        took.append((time.perf_counter() - start) * 1000)
        sockets.publisher.recv(1 << 16)
        again = sockets._all[n * 7 % count]
        again.sendall(request("GET", paths[n * 7 % count]))
        time.sleep(0.02)
    busy = len(names) * 10
    before, start = (cpu_seconds(server.process.pid), cpu_seconds(redis_pid)), time.perf_counter()
    with socket.create_connection((host, int(port))):
        place = {connection.fileno(): n for n, connection in enumerate(sockets._all)}
        for n in range(busy):
            sockets.publisher.sendall(publish_request(names[n * 7 % count], 1))
            sockets.publisher.recv(1 << 16)
            for fd, _ in sockets._poll.poll(0):
                sockets._by_fd[fd].recv(1 << 16)
                sockets._by_fd[fd].sendall(request("GET", paths[place[fd]]))
    seconds = time.perf_counter() - start
    spent = [(after - b) * 1e6 / busy for after, b in zip((cpu_seconds(server.process.pid), cpu_seconds(redis_pid)), before, strict=True)]
    sockets.close()
    return (
        f"{count} streams: {connections} connections, answered in {statistics.median(took):.1f} ms; "
        f"all busy: {busy / seconds:.0f} publishes/s, CPU a publish: server {spent[0]:.0f} µs, Redis {spent[1]:.0f} µs"
    )


def main() -> None:
    """One server over one embedded Valkey."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="*", default=[64, 400])
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 60, 600])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bb-") as directory:
        data_dir = Path(directory) / "d"
        with serving("--port", "0", "--data-dir", str(data_dir)) as server:
            path = make(server.url, "burst")
            burst(server.url, path, 10, 2)  # warm
            for count in args.calls:
                alone = burst(server.url, path, 1, args.rounds)
                last = burst(server.url, path, count, args.rounds)
                print(f"1 call: {alone:.1f} ms; the last of {count}: {last:.1f} ms, {last / alone:.1f} times", flush=True)
            for count in args.streams:
                print(streams(server, f"unix://{data_dir}/valkey.sock", valkey_pid(data_dir), count, 20), flush=True)


if __name__ == "__main__":
    main()
