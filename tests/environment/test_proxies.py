"""Which proxy a client command goes through (the environment as companies have it)."""

import pytest

from http_api.cli.client import Client, client
from http_api.cli.proxies import proxy_of
from http_api.settings import WrongSetting

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("BROKER_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("http://broker.example.org", "", "http://proxy:3128"),
        ("https://broker.example.org", "", "http://secure:3128"),
        ("http://127.0.0.1:8080", "", None), ("http://127.9.9.9", "", None), ("http://[::1]:8080", "", None),
        ("http://localhost", "", None),
        ("http://0.0.0.0:8080", "", None),
        ("http://broker.example.org", "example.org", None), ("http://broker.example.org", ".example.org", None),
        ("http://broker.example.org:81", "broker.example.org:81", None), ("http://broker.example.org:82", "broker.example.org:81", "http://proxy:3128"),
        ("http://broker.example.org", "*", None), ("http://10.1.2.3", "10.0.0.0/8", None), ("http://11.1.2.3", "10.0.0.0/8", "http://proxy:3128"),
        ("http://[fd00::7]", "::1/128, fd00::/8", None), ("http://broker.example.org", "::1/128", "http://proxy:3128"),
    ],
)  # fmt: skip
def test_the_environment_names_the_proxy_but_never_to_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, proxy: str | None
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("https_proxy", "http://secure:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert proxy_of(url) == proxy


def test_one_proxy_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_of("http://broker.example.org") is None
    monkeypatch.setenv("ALL_PROXY", "http://proxy:3128")
    assert proxy_of("http://broker.example.org") == "http://proxy:3128"


def test_a_proxy_that_cannot_be_used_is_one_line_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://me:swordfish@proxy:1080")
    with pytest.raises(WrongSetting, match=r"the proxy socks://proxy:1080 .* NO_PROXY") as refusal:
        client("http://broker.example.org", None)
    assert "swordfish" not in str(refusal.value)
    client("http://127.0.0.1:1", None).__exit__()


def test_certificates_that_cannot_be_read_are_one_line_and_matter_to_https_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with pytest.raises(WrongSetting, match="SSL_CERT_FILE or SSL_CERT_DIR: No such file"):
        client("https://broker.example.org", None)
    client("http://127.0.0.1:1", None).__exit__()


def test_a_login_in_a_url_is_not_shown() -> None:
    with Client("http://me:swordfish@127.0.0.1:1", None) as found:
        assert found.url == "http://127.0.0.1:1"
    with pytest.raises(WrongSetting) as refusal:
        client("http://me:sword fish@host:port", None)
    assert "fish" not in str(refusal.value)
