"""A browser, a server, and a page that notes what a console must never do."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, sync_playwright

from tests.console.broker_api import Seeder, world
from tests.support.processes import serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ADMIN = "an-admin-token-of-the-tests"


class Sight:
    """A page of the console, and what was seen of it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        self.methods: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("dialog", self._ran)

    def _logged(self, message: ConsoleMessage) -> None:
        # A violation of the Content-Security-Policy is logged as an error too.
        if message.type in ("error", "warning") and not any(text in message.text for text in self.expected):
            self.wrong.append(f"console: {message.text}")

    def _ran(self, dialog: Dialog) -> None:
        self.wrong.append(f"a script ran: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        self.methods.append(request.method)
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.wrong.append(f"another host: {request.url}")

    def open(self, path: str = "") -> Page:
        """Go to an address of the console."""
        self.page.goto(f"{self.url}/console/#/{path}")
        self.page.get_by_role("heading", level=1).wait_for()
        return self.page

    def answer(self, button: str, typed: str = "") -> None:
        """Answer a question that the page asks, with what must be typed."""
        dialog = self.page.get_by_role("dialog")
        if typed:
            dialog.get_by_role("textbox").fill(typed)
        dialog.get_by_role("button", name=button).click()

    def says(self, text: str) -> None:
        """The page says so."""
        self.page.get_by_role("status").filter(has_text=text).first.wait_for()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Of this package alone: while Playwright runs in a thread, no other event loop can."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeder]:
    """An open server."""
    data_dir: Path = tmp_path_factory.mktemp("d") / "d"
    with serving("--port", "0", "--data-dir", str(data_dir), "--max-message-bytes", str(4 << 20)) as server:
        yield Seeder(server.url)


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeder]:
    """A server that wants a token, and a caller with an admin's."""
    data_dir: Path = tmp_path_factory.mktemp("d") / "d"
    with serving("--port", "0", "--data-dir", str(data_dir), environ={"BROKER_ADMIN_TOKEN": ADMIN}) as server:
        yield Seeder(server.url, ADMIN)


@pytest.fixture(scope="package")
def first_message(api: Seeder) -> str:
    """The stream `world` with its consumers, which tests look at and leave alone; the id of its first message."""
    return world(api)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without a past, in a time zone that is not UTC."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB", timezone_id="Asia/Kolkata")
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def sight(context: BrowserContext, api: Seeder) -> Iterator[Sight]:
    """A page of the open server. In the end nothing may have gone wrong on it."""
    yield from watched(context, api)


@pytest.fixture
def guarded_sight(context: BrowserContext, guarded: Seeder) -> Iterator[Sight]:
    """A page of the server that wants a token."""
    yield from watched(context, guarded)


def watched(context: BrowserContext, api: Seeder) -> Iterator[Sight]:
    """A page that is looked at to the end."""
    sight = Sight(context.new_page(), api.url)
    yield sight
    assert sight.wrong == []
