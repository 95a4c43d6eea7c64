"""Every screen: it is there, everyone can use it, in both themes, on a phone, and users' texts do nothing on it."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Sight
from tests.console.screens import SCREENS

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()


def faults(sight: Sight) -> list[tuple[str, Any]]:
    """What axe finds wrong."""
    found = sight.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]]


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_is_there_for_everyone(sight: Sight, first_message: str, screen: str) -> None:
    address, heading, text = (part.format(first=first_message) for part in SCREENS[screen])
    page = sight.open(address)
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    if text:
        expect(page.get_by_role("main").get_by_text(text).first).to_be_visible()
    expect(page.get_by_text("Loading…")).to_have_count(0)
    for more in page.locator("details:not([open]) > summary").all():
        more.click()
    page.evaluate(AXE)
    assert ("light", faults(sight)) == ("light", [])
    page.set_viewport_size({"width": 360, "height": 780})
    page.emulate_media(color_scheme="dark")
    assert ("dark", faults(sight)) == ("dark", [])
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("main img, main script, main iframe").count() == 0


def test_the_messages_of_the_api_reach_the_screen(sight: Sight, first_message: str) -> None:
    sight.expected = ("404",)  # the browser logs what was not found
    page = sight.open("consumer/no-such")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("CONSUMER_NOT_FOUND")
    expect(alert).to_contain_text("Request ")
