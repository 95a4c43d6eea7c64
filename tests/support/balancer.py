"""haproxy on loopback as compose.yaml runs it: docs/haproxy.cfg with only the addresses rewritten."""

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.processes import await_ready

SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "haproxy.cfg"
# Debian has it where only root's PATH looks.
BINARY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def seconds(setting: str, text: str | None = None) -> float:
    """A time of the shipped configuration, `timeout server` for instance."""
    (found,) = re.findall(rf"^ *{setting} (\d+)s$", text or SHIPPED.read_text(), re.MULTILINE)
    return float(found)


def configuration(bind: str, servers: Sequence[str], changed: Mapping[str, str]) -> str:
    """The shipped configuration for servers at these addresses, `host:port` each, in the order of its server lines.

    `changed` gives settings another value: `{"timeout server": "1s"}`.
    """
    text = SHIPPED.read_text()
    # The addresses are numbers.
    text = re.sub(r"^resolvers .*\n(?: +.*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r" resolvers \S+ init-addr \S+$", "", text, flags=re.MULTILINE)
    text = _replaced(r"^( *bind ):8080$", rf"\g<1>{bind}", text, 1)
    for address in servers:
        text = _replaced(r'^( *server \S+ )"\$\{.*:8080\}"$', rf"\g<1>{address}", text, 1)
    if ":8080" in text:
        raise ValueError(f"{SHIPPED} has more servers than {len(servers)}")
    for setting, value in changed.items():
        text = _replaced(rf"^( *{setting} )\S+$", rf"\g<1>{value}", text, 1)
    return text


def _replaced(pattern: str, by: str, text: str, count: int) -> str:
    text, done = re.subn(pattern, by, text, count=count, flags=re.MULTILINE)
    if done != count:
        raise ValueError(f"{SHIPPED} has no line {pattern}")
    return text


@contextlib.contextmanager
def balancing(urls: Sequence[str], changed: Mapping[str, str] | None = None) -> Iterator[str]:
    """A balancer over the servers at `urls`; gives its own URL. RuntimeError: haproxy refuses the configuration."""
    if BINARY is None:
        raise RuntimeError("haproxy is not installed")
    # haproxy takes over a socket that listens already, so no port is chosen twice.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, tempfile.TemporaryDirectory(prefix="bh-") as directory:
        servers = [url.removeprefix("http://") for url in urls]
        path, log = Path(directory) / "haproxy.cfg", Path(directory) / "haproxy.log"
        path.write_text(configuration(f"fd@{listener.fileno()}", servers, dict(changed or {})))
        with log.open("wb") as out:
            process = subprocess.Popen([BINARY, "-db", "-f", path], stdout=out, stderr=out, pass_fds=(listener.fileno(),))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            try:
                await_ready(url, 5)
            except TimeoutError as exc:
                raise RuntimeError(log.read_text()) from exc
            yield url
        finally:
            process.terminate()
            process.wait(10)
