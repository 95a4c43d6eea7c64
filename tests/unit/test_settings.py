"""Settings: options, else the environment, else the defaults; a wrong one is named in one line (C49)."""

from pathlib import Path

import pytest

from broker.store.cluster import Cluster
from broker.store.single import SingleServer
from broker.store.urls import from_url
from http_api.settings import SOURCES, Settings, WrongSetting, load

# setting -> a value as text, what becomes of it, and values that cannot be used
VALUES: dict[str, tuple[str, object, list[str]]] = {
    "host": ("::1", "::1", []),
    "port": ("0", 0, ["-1", "65536", "http", "1.5"]),
    "redis_url": (
        "rediss://u:p@host:7000/2",
        "rediss://u:p@host:7000/2",
        ["host:6379", "http://host", "redis://", "unix://", "redis://host:99999", "redis://host:port", "redis://[::1", " "],
    ),
    "data_dir": ("/tmp/x", Path("/tmp/x"), []),  # noqa: S108
    "workers": ("256", 256, ["0", "257", "many"]),
    "log_level": ("DEBUG", "debug", ["loud", "0"]),
    "log_format": ("JSON", "json", ["xml", "0"]),
    "metrics": ("Token", "token", ["shut", "0"]),
    "admin_token": ("swordfish", "swordfish", ["é", "a b", "a\nb"]),
    "max_message_bytes": ("1024", 1024, ["1023", "1073741825", "1M"]),
    "max_body_bytes": ("1073741824", 1 << 30, ["1023", "1073741825", "1M"]),
    "max_answer_bytes": ("1073741824", 1 << 30, ["1023", "1073741825", "1M"]),
}
WRONG = [(field, text) for field, (_, _, wrong) in VALUES.items() for text in wrong]


def test_the_table_of_this_test_has_every_setting() -> None:
    assert VALUES.keys() == SOURCES.keys() == set(Settings.__slots__)


@pytest.mark.parametrize("field", VALUES)
def test_a_child_process_gets_each_setting(field: str) -> None:
    settings = load({field: VALUES[field][0]}, {})
    assert settings != Settings()
    assert load({}, settings.environment()) == settings


def test_nothing_given_is_the_defaults() -> None:
    assert load({}, {}) == Settings()
    assert load(dict.fromkeys(SOURCES), {"OTHER": "x"}) == Settings()


@pytest.mark.parametrize("field", VALUES)
def test_the_environment_gives_a_setting(field: str) -> None:
    text, value, _ = VALUES[field]
    settings = load({}, {SOURCES[field][1]: text})
    assert getattr(settings, field) == value
    assert settings == Settings(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", [field for field in VALUES if SOURCES[field][0]])
def test_an_option_comes_before_the_environment(field: str) -> None:
    text, value, wrong = VALUES[field]
    assert getattr(load({field: text}, {SOURCES[field][1]: (wrong or ["other"])[0]}), field) == value


@pytest.mark.parametrize("field", VALUES)
def test_an_empty_variable_is_none(field: str) -> None:
    assert load({}, {SOURCES[field][1]: ""}) == Settings()


@pytest.mark.parametrize(("field", "text"), WRONG)
def test_a_wrong_setting_is_named_by_where_it_came_from(field: str, text: str) -> None:
    option, variable, *_ = SOURCES[field]
    for options, environ, source in (({field: text}, {}, option), ({}, {variable: text}, variable)):
        with pytest.raises(WrongSetting) as refusal:
            load(options, environ)
        message = str(refusal.value)
        assert message.startswith(f"{source}: ")
        assert "\n" not in message


def test_a_secret_in_a_url_is_not_repeated() -> None:
    with pytest.raises(WrongSetting) as refusal:
        load({"redis_url": "http://:swordfish@host"}, {})
    assert "swordfish" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, "--data-dir broker-data"), ("redis://127.0.0.1:1", "--redis redis://127.0.0.1:1"),
        ("rediss://me:sword@fish@host:7000/2?password=sword", "--redis rediss://host:7000/2"),
        ("unix://:sword@/run/redis.sock?db=1", "--redis unix:///run/redis.sock"),
        ("redis+sentinel://me:sword@a:1,b:2/main", "--redis redis+sentinel://a:1,b:2/main"),
    ],
)  # fmt: skip
def test_c49_the_redis_in_use_is_named_without_secrets(url: str | None, shown: str) -> None:
    assert Settings(redis_url=url).redis_source == shown


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),  # noqa: S104
        ("10.0.0.1", False), ("example.org", False), ("localhost.example.org", False), ("", False),
    ],
)  # fmt: skip
def test_who_is_on_loopback(host: str, loopback: bool) -> None:
    assert Settings(host=host).on_loopback is loopback


@pytest.mark.parametrize("text", ["tcp://10.96.12.7:8080", "udp://10.96.12.7:53", "tcp://[fd00::1]:8080"])
def test_what_kubernetes_says_of_a_service_named_broker_is_no_port(text: str) -> None:
    assert load({}, {"BROKER_PORT": text, "BROKER_PORT_8080_TCP": text, "BROKER_SERVICE_HOST": "10.96.12.7"}) == Settings()
    with pytest.raises(WrongSetting, match="--port"):
        load({"port": text}, {})


def test_an_empty_data_directory_is_named() -> None:
    with pytest.raises(WrongSetting, match="--data-dir: a directory must be named"):
        load({"data_dir": ""}, {})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h/abc", "the database must be a number"),
        ("redis://h/1/2", "the database must be a number"),
        ("redis+sentinel://h/service/abc", "the database must be a number"),
        ("redis+sentinel://h", "the service is missing"),
        ("redis+sentinel://,/s", "an address is missing"),
        ("redis+cluster://h/3", "a cluster has one database"),
        ("redis+cluster://h?db=3", "a cluster has one database"),
        ("redis://h?color=red", "option that is unknown: color"),
        ("rediss://h?ssl_cert_reqs=maybe", "option that cannot be used"),
        ("redis://:pa?ss@w@h", "%40"), ("redis://:pa/ss@w@h", "%40"), ("redis://:pa#ss@w@h", "%40"), ("redis://h?password=pa@ss", "%40"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_url_is_said_and_no_password_shown(url: str, said: str) -> None:
    with pytest.raises(WrongSetting) as refusal:
        load({"redis_url": url}, {})
    assert said in str(refusal.value)
    assert "pa" not in str(refusal.value).replace("a part", "").replace("password", "")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h/3?protocol=3", {"db": 3, "protocol": 2}),
        ("redis://u%40:p%40%2F@h", {"username": "u@", "password": "p@/"}),
        ("redis://me:sword@fish@h", {"password": "sword@fish", "host": "h"}),
        ("unix:///a%2Fb%23%3F%20%ff?db=2", {"path": "/a/b#? \udcff", "db": 2}),
        ("redis+sentinel://u:p%2540@a/s/2?sentinel_username=x&sentinel_password=%2540%26", {"db": 2, "password": "p%40"}),
    ],
)
def test_a_url_is_read_once_and_whole(url: str, options: dict[str, object]) -> None:
    servers = from_url(url, 5.0)
    assert isinstance(servers, SingleServer)
    assert options.items() <= servers._pool.connection_kwargs.items()


def test_options_of_a_cluster_are_decoded_once() -> None:
    servers = from_url("redis+cluster://me:p%2540@a:1,b?client_name=x%2541%26&protocol=3", 5.0)
    assert isinstance(servers, Cluster)
    assert {"password": "p%40", "client_name": "x%41&", "protocol": 2}.items() <= servers._options.items()


@pytest.mark.parametrize(
    ("url", "asked_with"),
    [
        ("redis+sentinel://u:p@a/s", {}),
        ("redis+sentinel://a/s?sentinel_username=x&sentinel_password=%40%25", {"username": "x", "password": "@%"}),
        ("rediss+sentinel://a/s?ssl_cert_reqs=none", {"ssl": True, "ssl_cert_reqs": "none"}),
        ("rediss+sentinel://a/s?sentinel_ssl=false", {}),
        ("redis+sentinel://a/s?sentinel_ssl=true", {"ssl": True}),
    ],
)
def test_sentinels_are_asked_with_what_is_their_own(url: str, asked_with: dict[str, object]) -> None:
    servers = from_url(url, 5.0)
    assert isinstance(servers, SingleServer) and servers._sentinel is not None
    ours = ("socket_connect_timeout", "socket_timeout", "retry")
    assert {name: value for name, value in servers._sentinel.sentinel_kwargs.items() if name not in ours} == asked_with
