"""How the console is served: no browser is needed for these."""

import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest

from tests.console.broker_api import Seeder

STATIC = Path(__file__).parents[2] / "http_api" / "console" / "static"
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".svg"))
VENDORED = [STATIC / "vendor" / "README.md", Path(__file__).parent / "vendor" / "README.md"]


@pytest.mark.parametrize("path", ["", *FILES])
def test_a_file_comes_with_its_policy_type_and_tag(api: Seeder, path: str) -> None:
    reply = httpx.get(f"{api.url}/console/{path}")
    assert reply.status_code == 200
    assert reply.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert reply.headers["x-frame-options"] == "DENY"
    assert reply.headers["x-content-type-options"] == "nosniff"
    kind = {"": "text/html", "s": "text/javascript", "g": "image/svg+xml"}.get(path[-1:] if not path.endswith("css") else "css", "text/css")
    assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
    again = httpx.get(f"{api.url}/console/{path}", headers={"If-None-Match": f'"other", W/{reply.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")


def test_a_file_is_packed_for_those_who_take_it(api: Seeder) -> None:
    with httpx.stream("GET", f"{api.url}/console/ui.js", headers={"Accept-Encoding": "br, gzip"}) as packed:
        text = b"".join(packed.iter_raw())
    plain = httpx.get(f"{api.url}/console/ui.js", headers={"Accept-Encoding": "gzip;q=0"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(text) == plain.content == (STATIC / "ui.js").read_bytes()
    assert packed.headers["etag"] != plain.headers["etag"]
    assert "Accept-Encoding" in packed.headers["vary"] and "Accept-Encoding" in plain.headers["vary"]


def test_a_browser_is_led_to_it(api: Seeder) -> None:
    there = httpx.get(api.url + "/", headers={"Accept": "text/html,*/*"}, follow_redirects=True)
    assert (there.status_code, there.url.path) == (200, "/console/")
    assert httpx.get(api.url + "/console", follow_redirects=True).url.path == "/console/"
    assert httpx.get(api.url + "/").json()["code"] == "NOT_FOUND"


def test_other_methods_and_other_paths_are_refused_in_the_one_shape(api: Seeder) -> None:
    for path in ("/console", "/console/", "/console/app.js"):
        refused = httpx.post(api.url + path)
        assert (refused.status_code, refused.json()["code"], refused.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "GET, HEAD")
    for path in ("nothing.js", "..%2f__init__.py", "%2e%2e/__init__.py", "index.html%20open", "vendor/README.md"):
        missing = httpx.get(f"{api.url}/console/{path}")
        assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")
    head = httpx.head(api.url + "/console/app.js")
    assert (head.status_code, head.content) == (200, b"")


def test_the_page_says_whether_a_token_is_wanted(api: Seeder, guarded: Seeder) -> None:
    assert 'data-access="open"' in httpx.get(api.url + "/console/").text
    assert 'data-access="token"' in httpx.get(guarded.url + "/console/").text


def test_c65_access_says_what_the_callers_token_may_do(api: Seeder, guarded: Seeder) -> None:
    assert api.call("GET", "access") == {"name": "", "scopes": ["admin"], "open": True}
    made = guarded.call("POST", "tokens", {"name": "seen", "scopes": ["read", "manage:billing"]})
    assert Seeder(guarded.url, made["token"]).call("GET", "access") == {"name": "seen", "scopes": ["manage:billing", "read"], "open": False}
    refused = httpx.get(guarded.url + "/v1/access")
    assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHENTICATED")


def test_all_of_it_is_under_150_kb() -> None:
    assert sum((STATIC / path).stat().st_size for path in FILES) < 150_000


def test_nothing_of_it_is_inline_or_made_from_text() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for path in FILES:
        if not path.startswith("vendor/"):
            text = (STATIC / path).read_text()
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", text)


@pytest.mark.parametrize("page", VENDORED, ids=["console", "tests"])
def test_what_is_vendored_is_what_its_page_says(page: Path) -> None:
    rows = re.findall(r"^\| (\S+\.js) \|.*\| ([0-9a-f]{64}) \|$", page.read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == {path.name for path in page.parent.glob("*.js")}
    for name, digest in rows:
        assert hashlib.sha256((page.parent / name).read_bytes()).hexdigest() == digest
