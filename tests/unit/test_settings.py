"""Settings: options, else the environment, else the defaults; a wrong one is named in one line (C49)."""

from pathlib import Path

import pytest

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
    "admin_token": ("swordfish", "swordfish", ["é", "a b", "a\nb"]),
    "max_message_bytes": ("1024", 1024, ["1023", "1073741825", "1M"]),
    "max_body_bytes": ("1073741824", 1 << 30, ["1023", "1073741825", "1M"]),
    "max_answer_bytes": ("1073741824", 1 << 30, ["1023", "1073741825", "1M"]),
}
WRONG = [(field, text) for field, (_, _, wrong) in VALUES.items() for text in wrong]


def test_the_table_of_this_test_has_every_setting() -> None:
    assert VALUES.keys() == SOURCES.keys() == set(Settings.__slots__)


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
    option, variable = SOURCES[field]
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
