"""What a token may do is what the console offers (B5)."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.console.broker_api import Seeder, world
from tests.console.conftest import Sight, watched
from tests.console.screens import SCREENS
from tests.support.processes import serving


@pytest.fixture(scope="package")
def guarded_first(guarded: Seeder) -> str:
    """The stream `world` on the guarded server; the id of its first message."""
    return world(guarded)


def sign_in(page: Page, token: str) -> None:
    """Type a token."""
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def token(guarded: Seeder, name: str, *scopes: str) -> str:
    """A new token."""
    made: str = guarded.call("POST", "tokens", {"name": name, "scopes": scopes})["token"]
    return made


def test_with_a_read_token_nothing_but_get_leaves_the_page(guarded_sight: Sight, guarded: Seeder, guarded_first: str) -> None:
    sight = guarded_sight
    sign_in(sight.open(), token(guarded, "reader", "read"))
    expect(sight.page.get_by_text("reader · read")).to_be_visible()
    harmless = ("Search", "Sign out", "Help", "Stop", "Raw", "Copy", "Look", "Clear", "▾", "▸", "Create the")
    for screen, (address, _, _) in SCREENS.items():
        page = sight.open(address.format(first=guarded_first))
        expect(page.get_by_text("Loading…")).to_have_count(0)
        if screen in ("new-stream", "new-consumer"):
            continue  # no link leads there
        for more in page.locator("details:not([open]) > summary").all():
            more.click()
        names = [button.get_attribute("aria-label") or button.inner_text() for button in page.get_by_role("button").all()]
        assert (screen, [name for name in names if not name.startswith(harmless)]) == (screen, [])
        for name in ("New ", "Tokens", "Publish"):
            expect(page.get_by_role("link", name=name)).to_have_count(0)
        for button in page.get_by_role("button", name="Look").all()[:1]:
            button.click()
    assert set(sight.methods) == {"GET"}


def test_the_token_is_kept_in_this_tab_alone(guarded_sight: Sight, guarded: Seeder, guarded_first: str, context: BrowserContext) -> None:
    sight, text = guarded_sight, token(guarded, "tabbed", "read")
    sign_in(sight.open(), text)
    expect(sight.page.get_by_text("tabbed · read")).to_be_visible()
    sight.page.reload()
    expect(sight.page.get_by_text("tabbed · read")).to_be_visible()
    assert sight.page.evaluate("JSON.stringify([localStorage, document.cookie])") == '[{},""]'
    other = context.new_page()
    other.goto(guarded.url + "/console/")
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_token_that_ends_is_asked_for_again_and_the_place_is_kept(guarded_sight: Sight, guarded: Seeder, guarded_first: str) -> None:
    sight = guarded_sight
    sight.expected = ("401",)
    page = sight.open("stream/world?key=k&tab=messages")
    sign_in(page, token(guarded, "ending", "read"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Stream world")
    guarded.call("DELETE", "tokens/ending")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_role("alert")).to_contain_text("unknown or was revoked")
    sign_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("unknown or was revoked")
    sign_in(page, token(guarded, "next-one", "read"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Stream world")
    expect(page.get_by_label("Key")).to_have_value("k")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_token_of_one_consumer_sees_and_manages_that_one(guarded_sight: Sight, guarded: Seeder, guarded_first: str) -> None:
    sight = guarded_sight
    sign_in(sight.open(), token(guarded, "narrow", "consume:world-full", "manage:world-full"))
    page = sight.page
    page.get_by_role("link", name="world-full").click()
    page.get_by_role("button", name="Pause").click()
    sight.says("Paused")
    page.get_by_role("button", name="Resume").click()
    sight.says("Resumed.")
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_role("button", name="Save")).to_be_visible()
    expect(page.get_by_role("button", name="Delete the consumer")).to_have_count(0)


def test_the_first_token_shuts_the_server_and_the_page_goes_on(context: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir: Path = tmp_path_factory.mktemp("d") / "d"
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        for sight in watched(context, Seeder(server.url)):
            page = sight.open("tokens")
            expect(page.get_by_text("Open: no token")).to_be_visible()
            page.get_by_label("Name").fill("me")
            page.get_by_label("Scopes").fill("admin")
            page.get_by_role("button", name="Create the token").click()
            sight.answer("Create it")
            expect(page.get_by_text("me · admin")).to_be_visible()
            expect(page.get_by_label("token", exact=True)).to_contain_text("brk_")
            expect(page.get_by_role("row", name="me admin")).to_be_visible()
