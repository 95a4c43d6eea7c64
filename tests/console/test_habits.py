"""Keys, addresses, times, the tab that is hidden, Redis that is away, many consumers."""

import re

from playwright.sync_api import BrowserContext, Route, expect

from tests.console.broker_api import Seeder
from tests.console.conftest import Sight, watched
from tests.support.processes import serving
from tests.support.servers import running


def test_keys_lead_through_the_console(sight: Sight, first_message: str) -> None:
    page = sight.open("stream/world")
    page.get_by_label("Text in data").wait_for()
    page.keyboard.press("/")
    expect(page.get_by_label("Text in data")).to_be_focused()
    page.keyboard.type("g?")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    for keys, heading in (("gs", "Streams"), ("gc", "Consumers"), ("gt", "Tokens"), ("go", "Overview")):
        page.keyboard.type(keys)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)


def test_an_address_says_all_that_is_to_be_seen(sight: Sight, context: BrowserContext, api: Seeder) -> None:
    api.stream("shared")
    api.publish("shared", {"key": "a", "data": 1}, {"key": "b", "data": 2})
    page = sight.open("stream/shared")
    page.get_by_label("Key").fill("b")
    page.get_by_role("button", name="Search").click()
    sight.says("found 1")
    other = context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("table", name="Messages").get_by_role("row")).to_have_count(2)
    expect(other.get_by_label("Key")).to_have_value("b")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("table", name="Messages").get_by_role("row")).to_have_count(3)


def test_times_are_of_the_readers_clock_with_utc_beside_them(sight: Sight, api: Seeder) -> None:
    api.stream("timed")
    api.publish("timed", {"id": "later", "data": 1, "deliver_at": "2031-01-31T23:00:00Z"})
    page = sight.open("stream/timed?tab=scheduled")
    when = page.get_by_role("row", name="later").locator("time")
    expect(when).to_have_text("2031-02-01 04:30:00")
    expect(when).to_have_attribute("title", re.compile(r"^2031-01-31T23:00:00(\.000)?Z \(UTC\)$"))


def test_a_hidden_tab_asks_for_nothing(sight: Sight, first_message: str) -> None:
    page = sight.page
    page.clock.install()
    sight.open()
    page.get_by_role("table", name="Consumers").wait_for()
    seen = """() => {
      Object.defineProperty(document, 'hidden', { get: () => %s, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.clock.run_for(10_000)
    page.wait_for_load_state("networkidle")
    # It is hidden while an answer is under way.
    held: list[Route] = []
    page.route("**/v1/http-consumers*", lambda route: held.append(route), times=1)
    with page.expect_request("**/v1/http-consumers*"):
        page.clock.run_for(31_000)
    page.evaluate(seen % "true")
    with page.expect_event("requestfinished", lambda request: "/v1/http-consumers" in request.url):
        held[0].continue_()
    asked = len(sight.methods)
    page.clock.run_for(600_000)
    page.clock.run_for(600_000)
    assert len(sight.methods) == asked
    with page.expect_request("**/v1/http-consumers*"):
        page.evaluate(seen % "false")


def test_a_bar_says_that_redis_is_away_and_goes_when_it_is_back(context: BrowserContext) -> None:
    with running("valkey") as redis, serving("--port", "0", "--redis", redis.url) as server:
        api = Seeder(server.url)
        for sight in watched(context, api):
            sight.expected = ("503", "504", "404")  # this Redis forgets its streams
            page = sight.open("stream/events")
            expect(page.get_by_text("No message.")).to_be_visible()
            redis.stop()
            expect(page.get_by_text("Redis is away.")).to_be_visible(timeout=20_000)
            expect(page.get_by_text("No message.")).to_be_visible()
            redis.start()
            expect(page.get_by_text("Redis is away.")).to_have_count(0, timeout=20_000)


def test_many_consumers_are_shown_as_far_as_one_scrolls_those_first_that_hurt(sight: Sight, api: Seeder) -> None:
    api.stream("many")
    api.publish("many", {"data": 1})
    for n in range(90):
        api.consumer(f"many-{n:02}", "many")
    api.reject("many-55", 1, "bad")
    page = sight.open("consumers?q=many")
    rows = page.get_by_role("table", name="Consumers").get_by_role("row")
    expect(rows).to_have_count(71)
    expect(rows.nth(1)).to_contain_text("many-55")
    rows.last.scroll_into_view_if_needed()
    expect(rows).to_have_count(91)
    page.get_by_label("Search by name").fill("many-59")
    expect(rows).to_have_count(2)
