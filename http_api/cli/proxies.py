"""Proxies for client commands: from the environment, but never to this machine."""

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from http_api.settings import is_loopback


def proxy_of(url: str) -> str | None:
    """The proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, unless NO_PROXY has the host, its domain or network."""
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_here(host) or _is_exempt(host, parts.port, proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_here(host: str) -> bool:
    return is_loopback(host) or host in ("0.0.0.0", "::")  # noqa: S104 - to a client these are this machine


def _is_exempt(host: str, port: int | None, proxies: dict[str, str]) -> bool:
    if proxy_bypass(host) or proxy_bypass(f"{host}:{port}"):
        return True
    for entry in proxies.get("no", "").split(","):
        try:
            if ip_address(host) in ip_network(entry.strip().strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False
