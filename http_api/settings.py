"""Settings of `broker serve`, from options and environment variables (C49)."""

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from broker.errors import BrokerError
from broker.store.client import Store
from broker.store.urls import SCHEMES, WrongUrl

# For a Service named `broker`, Kubernetes sets BROKER_PORT to such a URL in every pod. It is not a setting.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://[^/]+:[0-9]+")
# If other machines can reach the server, a shorter token could be guessed.
SHORTEST_ADMIN_TOKEN = 16
T = TypeVar("T")


class WrongSetting(Exception):
    """A setting is invalid. The message is one line that names it."""


class Source(NamedTuple):
    """The option and the variable of a setting, and its help. `option`: empty if there is none.

    `read` parses its text. ValueError: the text is invalid; the message has no full stop.
    """

    option: str
    variable: str
    help: str
    read: Callable[[str], object]


def setting(default: object, option: str, variable: str, help: str, read: Callable[[str], object] = str) -> Any:
    """Declare a dataclass field as a setting, for help, command line, environment and validation."""
    return field(default=default, metadata={"source": Source(option, variable, help, read)})


class OneOf:
    """Parses one of some words. Case does not matter."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, text: str) -> str:
        """One of the words."""
        if text.lower() not in self.words:
            raise ValueError(f"{text!r} is not one of {', '.join(self.words)}")
        return text.lower()


def integer(low: int, high: int) -> Callable[[str], int]:
    """A parser of numbers from `low` to `high`."""

    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            if low <= int(text) <= high:
                return int(text)
        raise ValueError(f"{text!r} is not a number from {low} to {high}")

    return read


def directory(text: str) -> Path:
    """Parse a directory, which may not exist yet."""
    if not text:
        raise ValueError("a directory must be named")
    return Path(text)


def token(text: str) -> str:
    """Parse an access token, which must fit into a header."""
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError("a token has visible ASCII characters only")
    return text


def redis_url(text: str) -> str:
    """Parse the URL of a Redis."""
    try:
        parts = urlsplit(text)
        if parts.scheme in SCHEMES and (parts.path if parts.scheme == "unix" else parts.netloc):
            if parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment:
                # The apparent host is then a part of the password, and would be shown.
                raise WrongUrl("write / ? # and @ in a user, a password or an option as %2F %3F %23 and %40")
            Store.from_url(text)
            return text
    except WrongUrl as exc:
        raise ValueError(str(exc)) from exc
    except ValueError:
        pass
    raise ValueError(
        "not a Redis URL; write redis://host:port, rediss://host:port, unix:///path, "
        "redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
    )


_MB = 1 << 20
_BYTES = integer(1024, 1 << 30)
_LEVEL = OneOf("debug", "info", "warning", "error")
_FORMAT = OneOf("text", "json")
_DATA_DIR = Path("broker-data")
_REDIS_URLS = (
    "URL of a Redis: redis://HOST:PORT/DB, rediss:// for TLS, unix:///PATH, redis+sentinel://HOST:PORT,.../SERVICE/DB, or "
    "redis+cluster://HOST:PORT,HOST:PORT; user and password as in redis://USER:PASSWORD@HOST; "
    "without it an embedded Valkey runs in the data directory."
)
_METRICS = "Who may read /metrics: open = all, token = tokens of scope read or admin, off = nobody."
_ANSWER = "Largest answer with messages; one message always fits."


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server. Sizes in bytes."""

    host: str = setting("127.0.0.1", "--host", "BROKER_HOST", "Address to listen on.")
    port: int = setting(8080, "--port", "BROKER_PORT", "Port to listen on, 0 = any.", integer(0, 65535))
    redis_url: str | None = setting(None, "--redis", "BROKER_REDIS_URL", _REDIS_URLS, redis_url)
    data_dir: Path = setting(_DATA_DIR, "--data-dir", "BROKER_DATA_DIR", "Directory of the embedded Valkey.", directory)
    workers: int = setting(1, "--workers", "BROKER_WORKERS", "Worker processes, one per core.", integer(1, 256))
    log_level: str = setting("info", "--log-level", "BROKER_LOG_LEVEL", "How much to log.", _LEVEL)
    log_format: str = setting("text", "--log-format", "BROKER_LOG_FORMAT", "Text, or JSON with one object per line.", _FORMAT)
    metrics: str = setting("open", "--metrics", "BROKER_METRICS", _METRICS, OneOf("open", "token", "off"))
    admin_token: str | None = setting(None, "", "BROKER_ADMIN_TOKEN", "Accepted as an admin token.", token)
    max_message_bytes: int = setting(_MB, "--max-message-bytes", "BROKER_MAX_MESSAGE_BYTES", "Largest message.", _BYTES)
    max_body_bytes: int = setting(8 * _MB, "--max-body-bytes", "BROKER_MAX_BODY_BYTES", "Largest JSON body.", _BYTES)
    max_answer_bytes: int = setting(8 * _MB, "--max-answer-bytes", "BROKER_MAX_ANSWER_BYTES", _ANSWER, _BYTES)

    def environment(self) -> dict[str, str]:
        """The environment variables from which `load` makes these settings again."""
        values = {source.variable: getattr(self, name) for name, source in SOURCES.items()}
        return {variable: str(value) for variable, value in values.items() if value is not None}

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def redis_source(self) -> str:
        """The Redis in use, for messages: the setting, and the address without user, password and options."""
        if self.redis_url is None:
            return f"--data-dir {self.data_dir}"
        parts = urlsplit(self.redis_url)
        return f"--redis {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def at_redis(self, error: BrokerError) -> BrokerError:
        """The same error with the Redis in use and the cause."""
        return type(error)(f"{self.redis_source}: {error.summary} {error.__cause__ or ''}".rstrip())


def is_loopback(host: str) -> bool:
    """Whether an address or a name is a loopback one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def sources(kind: type) -> dict[str, Source]:
    """The settings of a dataclass, by field."""
    return {field.name: field.metadata["source"] for field in fields(kind)}


SOURCES = sources(Settings)


def load(options: Mapping[str, str | None], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from options, else the environment, else defaults. WrongSetting: one is invalid."""
    return load_as(Settings, options, environ)


def load_as(kind: type[T], options: Mapping[str, str | None], environ: Mapping[str, str] = os.environ) -> T:
    """The same for any dataclass whose fields are settings."""
    given: dict[str, object] = {}
    for name, source in sources(kind).items():
        text, place = options.get(name), source.option
        if text is None:
            text, place = environ.get(source.variable) or None, source.variable
            if name == "port" and text is not None and _SERVICE_LINK.fullmatch(text):
                text = None
        if text is not None:
            try:
                given[name] = source.read(text)
            except ValueError as exc:
                raise WrongSetting(f"{place}: {exc}.") from exc
    return kind(**given)
