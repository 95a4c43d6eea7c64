"""The pictures of docs/guides/console.md, taken of a small shop at work.

With CONSOLE_PICTURES=1 they are written to docs/pictures.
"""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.console.broker_api import Seeder
from tests.console.conftest import Sight
from tests.support.processes import serving

DOCS = Path(__file__).parents[2] / "docs"


def shop(api: Seeder) -> None:
    """Streams and consumers of a shop, some in trouble."""
    api.stream("orders", max_messages=1_000_000, metadata={"team": "checkout"})
    api.consumer("billing", "orders", max_ack_pending=4, metadata={"team": "money"})
    api.consumer("mail", "orders", max_deliver=3)
    api.consumer("search", "orders")
    for path in ("orders", "refunds"):
        api.publish("orders", *(order(path, number) for number in range(4700, 4720)))
    api.publish("orders", {"id": "remind-4711", "event": "reminder", "data": {}, "deliver_at": "2031-01-01T08:00:00Z"})
    api.take("billing", 4, "w3")
    api.reject("mail", 3, "timeout: smtp.example.com", "w1")
    api.reject("mail", 2, "no such address", "w2")
    api.nack("mail", api.take("mail", 2, "w2"), delay_ms=600_000, reason="greylisted")


def order(path: str, number: int) -> dict[str, object]:
    """An event of an order."""
    data = {"order": number, "total": f"{number % 90}.50", "customer": {"id": 9007199254740993, "name": "Ada"}, "lines": [1, 2]}
    return {"collection_id": f"shop:{path}", "key": f"o{number}", "event": "placed", "data": data, "headers": {"trace": f"t-{number}"}}


def work(api: Seeder, page: Page) -> None:
    """Let some time pass on the page while messages come and go, so that there are lines to draw."""
    looks = list[str]()
    page.on("requestfinished", lambda request: looks.append(request.url) if "/v1/http-consumers" in request.url else None)
    for number in range(12):
        api.publish("orders", *(order("orders", 5000 + n) for n in range(4 + number % 3 * 5)))
        api.ack("search", api.take("search", 3 + number % 4 * 2, "w5"))
        seen, tries = len(looks), 0
        while len(looks) == seen:  # a page that still reads the last answer sets its timer after this time has passed
            page.clock.run_for(31_000)
            tries += 1
            assert tries < 100, "the page has stopped asking"


def test_the_pictures_of_the_guide_can_be_taken(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = DOCS / "pictures" if os.environ.get("CONSOLE_PICTURES") else tmp_path_factory.mktemp("pictures")
    taken = set()
    data_dir: Path = tmp_path_factory.mktemp("d") / "d"
    with (
        serving("--port", "0", "--data-dir", str(data_dir)) as server,
        browser.new_context(viewport={"width": 1100, "height": 680}) as context,
    ):
        api, sight = Seeder(server.url), Sight(context.new_page(), server.url)
        shop(api)
        message = api.call("GET", "streams/orders/messages?limit=1")["data"][0]["id"]
        page = sight.page
        page.clock.install()
        sight.open()
        work(api, page)

        def picture(name: str, address: str, theme: str = "light", width: int = 1100) -> None:
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.set_viewport_size({"width": width, "height": 680})
            sight.open(address)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=place / f"console-{name}.png")
            taken.add(f"pictures/console-{name}.png")

        picture("overview", "")
        picture("stream", "stream/orders?contains=4711")
        picture("message", f"message/orders/{message}", "dark")
        picture("consumer", "consumer/billing")
        picture("letters", "consumer/mail?tab=dead")
        picture("phone", "?q=mail", "dark", 360)
        assert sight.wrong == []
    assert taken == set(re.findall(r"\(\.\./(pictures/\S+)\)", (DOCS / "guides" / "console.md").read_text()))
    assert all((DOCS / name).stat().st_size < 150_000 for name in taken)
