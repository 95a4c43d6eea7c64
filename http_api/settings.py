"""Settings of `broker serve`: options, each also from the environment (C49)."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from broker.store.client import Store
from broker.store.urls import SCHEMES, WrongUrl

# What Kubernetes puts into the environment of every pod beside a Service named `broker`, as BROKER_PORT: it is nobody's setting.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://[^/]+:[0-9]+")
# Guesses at a shorter token come too fast where others can reach the server.
SHORTEST_ADMIN_TOKEN = 16
# What a setting of words may be.
CHOICES = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
    "metrics": ("open", "token", "off"),
}


class WrongSetting(Exception):
    """A setting that cannot be used; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server runs. Sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8080
    redis_url: str | None = None
    data_dir: Path = Path("broker-data")
    workers: int = 1
    log_level: str = "info"
    log_format: str = "text"
    metrics: str = "open"
    admin_token: str | None = None
    max_message_bytes: int = 1 << 20
    max_body_bytes: int = 8 << 20
    max_answer_bytes: int = 8 << 20

    @property
    def on_loopback(self) -> bool:
        """Only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def redis_source(self) -> str:
        """The Redis in use as a message names it: the setting, and the address without user, password and options."""
        if self.redis_url is None:
            return f"--data-dir {self.data_dir}"
        parts = urlsplit(self.redis_url)
        return f"--redis {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_loopback(host: str) -> bool:
    """Whether an address or a name is that of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# setting -> (option, environment variable)
SOURCES = {
    "host": ("--host", "BROKER_HOST"),
    "port": ("--port", "BROKER_PORT"),
    "redis_url": ("--redis", "BROKER_REDIS_URL"),
    "data_dir": ("--data-dir", "BROKER_DATA_DIR"),
    "workers": ("--workers", "BROKER_WORKERS"),
    "log_level": ("--log-level", "BROKER_LOG_LEVEL"),
    "log_format": ("--log-format", "BROKER_LOG_FORMAT"),
    "metrics": ("--metrics", "BROKER_METRICS"),
    "admin_token": ("", "BROKER_ADMIN_TOKEN"),
    "max_message_bytes": ("--max-message-bytes", "BROKER_MAX_MESSAGE_BYTES"),
    "max_body_bytes": ("--max-body-bytes", "BROKER_MAX_BODY_BYTES"),
    "max_answer_bytes": ("--max-answer-bytes", "BROKER_MAX_ANSWER_BYTES"),
}


def load(options: Mapping[str, str | None], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from options, else the environment, else the defaults. WrongSetting names what is wrong."""
    given: dict[str, object] = {}
    for field, (option, variable) in SOURCES.items():
        text, source = options.get(field), option
        if text is None:
            text, source = environ.get(variable) or None, variable
            if field == "port" and text is not None and _SERVICE_LINK.fullmatch(text):
                text = None
        if text is not None:
            given[field] = _parse(field, text, source)
    return Settings(**given)  # type: ignore[arg-type]


def _parse(field: str, text: str, source: str) -> object:
    match field:
        case "port":
            return _integer(text, source, 0, 65535)
        case "workers":
            return _integer(text, source, 1, 256)
        case "max_message_bytes" | "max_body_bytes" | "max_answer_bytes":
            return _integer(text, source, 1024, 1 << 30)
        case "data_dir":
            if not text:
                raise WrongSetting(f"{source}: a directory must be named.")
            return Path(text)
        case "log_level" | "log_format" | "metrics":
            if text.lower() not in CHOICES[field]:
                raise WrongSetting(f"{source}: {text!r} is not one of {', '.join(CHOICES[field])}.")
            return text.lower()
        case "redis_url":
            return check_redis_url(text, source)
        case "admin_token":
            if not re.fullmatch(r"[!-~]+", text):
                raise WrongSetting(f"{source}: a token has visible ASCII characters only.")
            return text
        case _:
            return text


def check_redis_url(text: str, source: str) -> str:
    """The URL, where it is one of a Redis. WrongSetting."""
    try:
        parts = urlsplit(text)
        if parts.scheme in SCHEMES and (parts.path if parts.scheme == "unix" else parts.netloc):
            if parts.scheme != "unix" and "@" in parts.path + parts.query + parts.fragment:
                # What seems to be the host is a part of the password then, and would be shown.
                raise WrongUrl("write / ? # and @ in a user, a password or an option as %2F %3F %23 and %40")
            Store.from_url(text)
            return text
    except WrongUrl as exc:
        raise WrongSetting(f"{source}: {exc}.") from exc
    except ValueError:
        pass
    raise WrongSetting(
        f"{source}: not a Redis URL; write redis://host:port, rediss://host:port, unix:///path, "
        "redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port."
    )


def _integer(text: str, source: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise WrongSetting(f"{source}: {text!r} is not a number from {low} to {high}.")
    return number
