"""Alternatives to the broker, each set up as its documentation advises, with the same payload. Those that are not
installed are left out. Every function returns messages/s of one Python process as the client.
"""

import asyncio
import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import redis
import uvloop

from benchmarks.http_load import BODY, CONNECTIONS

PAYLOAD = json.dumps(BODY).encode()
BATCHES = (1, 10, 100, 1000)
Rates = dict[str, float]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], port: int, wait: float = 30) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + wait
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def redis_py(url: str, seconds: float, messages: int) -> Rates:
    """Plain redis-py, one connection: pipelines of 100 XADD; XREADGROUP and XACK. The ceiling: no broker at all."""
    client, found = redis.Redis.from_url(url), Rates()
    pipe = client.pipeline(transaction=False)
    start = time.perf_counter()
    for i in range(messages):
        pipe.xadd("bench-raw", {"collection_id": "bench:one", "body": PAYLOAD})
        if i % 100 == 99:
            pipe.execute()
    found["publish"] = messages / (time.perf_counter() - start)
    for batch in BATCHES:
        client.xgroup_create("bench-raw", f"g{batch}", "0")
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            reply: Any = client.xreadgroup(f"g{batch}", "w", {"bench-raw": ">"}, count=batch)
            if not reply:
                break
            ids = [entry[0] for entry in reply[0][1]]
            client.xack("bench-raw", f"g{batch}", *ids)
            done += len(ids)
        found[f"pull {batch}"] = done / (time.perf_counter() - start)
    client.delete("bench-raw")
    return found


def nats(seconds: float, messages: int) -> Rates:
    """NATS JetStream: file storage, a pull consumer with explicit acks, 4 fetches at a time."""
    if shutil.which("nats-server") is None or importlib.util.find_spec("nats") is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="bn-") as directory:
        port = _free_port()
        with _running(["nats-server", "-js", "-sd", directory, "-a", "127.0.0.1", "-p", str(port)], port):
            return uvloop.run(_nats(port, seconds, messages))


async def _nats(port: int, seconds: float, messages: int) -> Rates:
    from nats import connect
    from nats.errors import TimeoutError as NatsTimeout
    from nats.js.api import AckPolicy, ConsumerConfig, StorageType

    found, client = Rates(), await connect(f"nats://127.0.0.1:{port}")
    stream = client.jetstream()
    await stream.add_stream(name="bench", subjects=["bench"], storage=StorageType.FILE)
    start = time.perf_counter()
    for _ in range(messages // 100):
        await asyncio.gather(*(stream.publish("bench", PAYLOAD) for _ in range(100)))
    found["publish"] = messages / (time.perf_counter() - start)

    async def pulls(batch: int, until: float) -> int:
        subscription = await stream.pull_subscribe_bind(f"c{batch}", "bench")
        done = 0
        while time.perf_counter() < until:
            try:
                fetched = await subscription.fetch(batch, timeout=1)
            except NatsTimeout:
                break
            for message in fetched:
                await message.ack()
            done += len(fetched)
        return done

    for batch in BATCHES:
        config = ConsumerConfig(durable_name=f"c{batch}", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=100_000)
        await stream.add_consumer("bench", config)
        start = time.perf_counter()
        done = await asyncio.gather(*(pulls(batch, start + seconds) for _ in range(CONNECTIONS)))
        await client.flush()
        found[f"pull {batch}"] = sum(done) / (time.perf_counter() - start)
    await client.close()
    return found


def beanstalkd(seconds: float, messages: int) -> Rates:
    """beanstalkd with its write-ahead log (fsync every 50 ms, its default): put; reserve and delete, one at a time."""
    if shutil.which("beanstalkd") is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="bk-") as directory:
        port = _free_port()
        with _running(["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", directory], port):
            return _beanstalkd(port, seconds, messages)


def _beanstalkd(port: int, seconds: float, messages: int) -> Rates:
    found = Rates()
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rwb") as wire:
        put = b"put 0 0 30 %d\r\n%b\r\n" % (len(PAYLOAD), PAYLOAD)
        start = time.perf_counter()
        for _ in range(messages // 100):
            wire.write(put * 100)
            wire.flush()
            for _ in range(100):
                wire.readline()
        found["publish"] = messages / (time.perf_counter() - start)
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            wire.write(b"reserve-with-timeout 0\r\n")
            wire.flush()
            answer = wire.readline().split()
            if answer[0] != b"RESERVED":
                break
            wire.read(int(answer[2]) + 2)
            wire.write(b"delete %b\r\n" % answer[1])
            wire.flush()
            wire.readline()
            done += 1
        found["pull 1"] = done / (time.perf_counter() - start)
    return found


def rabbitmq(seconds: float, messages: int) -> Rates:
    """RabbitMQ at localhost: durable queue, persistent messages, publisher confirms, prefetch and acks by batch."""
    if importlib.util.find_spec("pika") is None:
        return {}
    import pika

    try:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", socket_timeout=2))
    except (pika.exceptions.AMQPError, OSError):
        return {}
    found, channel = Rates(), connection.channel()
    channel.queue_declare("bench", durable=True)
    channel.queue_purge("bench")
    properties = pika.BasicProperties(delivery_mode=2)
    channel.confirm_delivery()
    count = min(messages, 5000)
    start = time.perf_counter()
    for _ in range(count):
        channel.basic_publish("", "bench", PAYLOAD, properties)
    found["publish"] = count / (time.perf_counter() - start)
    filling = connection.channel()
    for _ in range(messages):
        filling.basic_publish("", "bench", PAYLOAD, properties)
    for batch in BATCHES:
        pulling = connection.channel()
        pulling.basic_qos(prefetch_count=batch)
        done, start = 0, time.perf_counter()
        for method, _, _ in pulling.consume("bench", inactivity_timeout=1):
            if method is None or time.perf_counter() - start > seconds:
                break
            done += 1
            if done % batch == 0:
                pulling.basic_ack(method.delivery_tag, multiple=True)
        found[f"pull {batch}"] = done / (time.perf_counter() - start)
        pulling.cancel()
        pulling.close()
    channel.queue_delete("bench")
    connection.close()
    return found
