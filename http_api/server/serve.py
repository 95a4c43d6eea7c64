"""Runs a server: starts the embedded Redis, checks the setup, and runs one or more worker processes."""

import asyncio
import gc
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from broker import __version__
from broker.access.tokens import AccessTokens, OpenMode
from broker.broker import Broker
from broker.errors import BrokerError
from broker.store.client import Store
from broker.store.embedded import Embedded
from broker.store.guarantees import Guarantees, examine, loaded
from http_api.app import create_app
from http_api.edge.connection import Connection
from http_api.edge.limits import DEFAULT
from http_api.edge.memory_limit import MemoryLimit
from http_api.monitoring import logs, metrics, tracing
from http_api.server.supervisor import BEAT_S, beat, supervise
from http_api.settings import SHORTEST_ADMIN_TOKEN, Settings, WrongSetting

logger = logging.getLogger("broker")
# A part of the 10 s that C45 allows: the time for calls in flight to finish.
GRACE_S = 7
_BACKLOG = 4096
# The variable that gives worker processes their shared mark (`broker.access.tokens.OpenMode`).
OPEN_MODE_MARK = "BROKER_OPEN_WHILE_THERE_IS"


class _Server(uvicorn.Server):
    """Ends waiting calls first when it stops, so that they do not delay the shutdown (C45)."""

    def __init__(self, config: uvicorn.Config, broker: Broker) -> None:
        super().__init__(config)
        self._broker = broker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("stopping: waiting calls end, and calls in flight have %d s", GRACE_S)
        self._broker.waiting.drain()
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        await super()._wait_tasks_to_complete()
        if self.force_exit:
            # A second Ctrl-C cuts off calls in flight. The rest of the shutdown stays orderly.
            self.force_exit = False
            if self.server_state.tasks:
                raise TimeoutError


def serve_worker(settings: Settings, listener: socket.socket, open_mode: OpenMode | None) -> None:
    """Serve on a listening socket until a signal arrives. `settings.redis_url` must be set.

    `open_mode` None: never open (C2).
    """
    assert settings.redis_url is not None  # noqa: S101 - the parent has chosen one
    _exit_on_signals()
    logs.begin(settings.log_level, settings.log_format)
    spans = tracing.begin(os.environ)

    async def run(url: str) -> None:
        broker = Broker.from_url(url, max_message_bytes=settings.max_message_bytes, max_answer_bytes=settings.max_answer_bytes)
        tokens = AccessTokens(broker.store, settings.admin_token, open_mode)
        app = create_app(broker, tokens, settings, owns_calls=True, spans=spans)
        config = uvicorn.Config(
            app, http=partial(Connection, held=MemoryLimit(DEFAULT.held_bytes)),  # type: ignore[arg-type]
            ws="none", log_config=None, access_log=False, lifespan="on",
            timeout_graceful_shutdown=GRACE_S, backlog=_BACKLOG, proxy_headers=False,
        )  # fmt: skip
        showing = None
        if settings.workers > 1:
            metrics.process_began(os.environ[metrics.COUNTS_AT])
            showing = asyncio.create_task(_report(broker))
        await _Server(config, broker).serve([listener])
        if showing is not None:
            showing.cancel()

    # A batch makes hundreds of short-lived objects without cycles. At the default thresholds, garbage collection took
    # 5 % of a busy server's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    factory = uvicorn.Config(app=run, loop="auto", log_config=None).get_loop_factory()
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run(settings.redis_url))
    finally:
        if spans is not None:
            spans.close()


async def _report(broker: Broker) -> None:
    """Send the supervisor a heartbeat, and publish the number of waiting calls for /metrics of any process."""
    while True:
        beat()
        metrics.waits_now(broker.waiting.count)
        await asyncio.sleep(BEAT_S)


def listen(settings: Settings) -> socket.socket:
    """The listening socket. WrongSetting: the address cannot be used."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _ask_silent_peers(listener)
        listener.bind(address)
        listener.listen(_BACKLOG)  # before the greeting, whose readers may connect at once
    except OSError as exc:
        raise WrongSetting(f"cannot listen on {settings.host}:{settings.port}: {exc.strerror or exc}.") from exc
    listener.set_inheritable(True)
    return listener


def _ask_silent_peers(listener: socket.socket) -> None:
    """Detect within half a minute that a client's machine is gone, so that its waiting call takes no message (C21)."""
    # Connections inherit these options from the listener.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _look(url: str, settings: Settings) -> tuple[Guarantees, str]:
    """The guarantees of Redis, and the access mode: `open`, `token`, or `none` if no valid token exists."""
    store = Store.from_url(url)
    try:
        await loaded(store)
        guarantees = await examine(store)
        tokens = AccessTokens(store)
        if settings.admin_token or await tokens.list():
            return guarantees, "token"
        return guarantees, "open" if await tokens.none_was_made() else "none"
    finally:
        await store.close()


def serve(settings: Settings) -> None:
    """Run `broker serve` until a signal arrives. WrongSetting, EmbeddedFailed, BrokerError: it cannot start."""
    _exit_on_signals()
    if settings.admin_token and len(settings.admin_token) < SHORTEST_ADMIN_TOKEN and not settings.on_loopback:
        raise WrongSetting(
            f"BROKER_ADMIN_TOKEN: on --host {settings.host} others can reach the server, so it must have {SHORTEST_ADMIN_TOKEN} characters "
            "or more."
        )
    embedded = None if settings.redis_url else Embedded(settings.data_dir)
    if embedded is not None:
        embedded.start()
    try:
        url = settings.redis_url or (embedded.url if embedded else "")
        try:
            guarantees, access = asyncio.run(_look(url, settings))
        except BrokerError as exc:
            raise settings.at_redis(exc) from exc
        logs.begin(settings.log_level, settings.log_format)
        if access != "token" and not settings.on_loopback:
            raise WrongSetting(
                f"--host {settings.host}: without an access token only this machine may connect; "
                "make one first, with the same --redis or --data-dir: broker token create NAME --scope admin"
            )
        listener = listen(settings)
        _greet(settings, listener, guarantees, access, embedded)
        try:
            _run(settings, url, listener, is_open=access == "open")
        finally:
            logger.info("stopped")
    finally:
        if embedded is not None:
            embedded.stop()


def _exit_on_signals() -> None:
    """On a signal, unwind the stack, so that child processes are stopped. uvicorn raises it again when it stops."""

    numbers = (signal.SIGTERM, signal.SIGINT)

    def leave(_: int, __: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # a second signal would interrupt the unwinding
        raise SystemExit(0)

    for number in numbers:
        signal.signal(number, leave)


_ACCESS = {
    "open": "open: no access token exists, so only this machine may connect",
    "token": "by access token",
    "none": "none: all access tokens were revoked; make one: broker token create NAME --scope admin",
}


def _greet(settings: Settings, listener: socket.socket, guarantees: Guarantees, access: str, embedded: Embedded | None) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    traces = tracing.plan(os.environ)
    where = f"embedded, data in {embedded.data_dir}" if embedded else "given by --redis"
    for line in (
        f"broker {__version__} on http://{host}:{listener.getsockname()[1]}",
        f"  redis        {guarantees.server}, {where}",
        f"  persistence  {guarantees.persistence}",
        f"  eviction     {guarantees.eviction}",
        f"  access       {_ACCESS[access]}",
        *([f"  traces       {traces.where}"] if traces.exporter else []),
    ):
        logs.always.info(line)
    for warning in (*(embedded.warnings if embedded else ()), *guarantees.warnings, *filter(None, [traces.warning])):
        logs.always.warning(warning)


@contextmanager
def _shared_directory(settings: Settings) -> Iterator[str]:
    """The directory of the files that workers share. WrongSetting: no directory is writable."""
    # A container with a read-only root has /dev/shm, and the embedded Redis has a writable directory in any case.
    for place in (None, "/dev/shm", settings.data_dir if settings.redis_url is None else None):  # noqa: S108
        try:
            directory = tempfile.TemporaryDirectory(prefix="broker-workers-", dir=place)
        except OSError:
            continue
        with directory as path:
            yield path
        return
    raise WrongSetting(f"--workers {settings.workers}: they need a directory that can be written; name one by TMPDIR.")


def _run(settings: Settings, url: str, listener: socket.socket, *, is_open: bool) -> None:
    """Run one worker in this process, or several in child processes, on one socket."""
    if settings.workers == 1:
        serve_worker(replace(settings, redis_url=url), listener, OpenMode() if is_open else None)
        return
    with _shared_directory(settings) as shared_dir:
        mark = Path(shared_dir, "open")
        if is_open:
            mark.touch()
        marks = {OPEN_MODE_MARK: str(mark), metrics.COUNTS_AT: shared_dir}
        supervise(settings.workers, listener, os.environ | replace(settings, redis_url=url).environment() | marks)
