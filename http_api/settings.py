"""Settings of `broker serve`: options, each also from the environment (C49)."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from broker.store import Store
from broker.topology import SCHEMES

LOG_LEVELS = ("debug", "info", "warning", "error")


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
    admin_token: str | None = None
    max_message_bytes: int = 1 << 20
    max_body_bytes: int = 8 << 20
    max_answer_bytes: int = 8 << 20

    @property
    def on_loopback(self) -> bool:
        """Only this machine can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


    @property
    def redis_source(self) -> str:
        """The Redis in use as a message names it: the setting, and the address without user, password and options."""
        if self.redis_url is None:
            return f"--data-dir {self.data_dir}"
        scheme, _, rest = self.redis_url.partition("://")
        return f"--redis {scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


# setting -> (option, environment variable)
SOURCES = {
    "host": ("--host", "BROKER_HOST"),
    "port": ("--port", "BROKER_PORT"),
    "redis_url": ("--redis", "BROKER_REDIS_URL"),
    "data_dir": ("--data-dir", "BROKER_DATA_DIR"),
    "workers": ("--workers", "BROKER_WORKERS"),
    "log_level": ("--log-level", "BROKER_LOG_LEVEL"),
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
            return Path(text)
        case "log_level":
            if text.lower() not in LOG_LEVELS:
                raise WrongSetting(f"{source}: {text!r} is not one of {', '.join(LOG_LEVELS)}.")
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
            Store.from_url(text)
            return text
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
