"""Every action that changes the broker, by role and label, and what the API says afterwards."""

import re

from playwright.sync_api import Route, expect

from tests.console.broker_api import Seeder
from tests.console.conftest import Sight


def test_a_stream_is_made_changed_and_deleted(sight: Sight, api: Seeder) -> None:
    page = sight.open("new-stream")
    page.get_by_label("name").fill("made")
    page.get_by_label("max_messages").fill("500")
    expect(page.get_by_label("curl", exact=True)).to_contain_text('{"name":"made","kind":"events","max_messages":500}')
    page.get_by_role("button", name="Create the stream").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Stream made")
    page.get_by_role("link", name="Settings").click()
    page.get_by_label("max_messages").fill("")
    page.get_by_label("metadata").fill('{"n": 9007199254740993}')
    page.get_by_role("button", name="Save").click()
    sight.says("The settings are saved.")
    made = api.call("GET", "streams/made")
    assert (made["max_messages"], made["metadata"]) == (None, {"n": 9007199254740993})
    expect(page.get_by_label("metadata")).to_have_value('{"n":9007199254740993}')
    page.get_by_role("button", name="Delete the stream").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Delete")).to_be_disabled()
    sight.answer("Delete", typed="made")
    expect(page.get_by_role("heading", level=1)).to_have_text("Streams")
    assert "made" not in [stream["name"] for stream in api.call("GET", "streams")["data"]]


def test_a_message_is_published_as_it_was_typed(sight: Sight, api: Seeder) -> None:
    api.stream("typed")
    page = sight.open("stream/typed?tab=publish")
    page.get_by_label("collection_id").fill("a:b")
    page.get_by_label("data").fill('{"n": 1e400')
    expect(page.get_by_role("alert")).to_contain_text("data is no JSON")
    expect(page.get_by_role("button", name="Publish")).to_be_disabled()
    page.get_by_label("data").fill('{"n": 9007199254740993}')
    page.get_by_label("headers").fill('{"trace": "1"}')
    page.get_by_role("button", name="Publish").click()
    sight.says("created")
    (row,) = api.call("GET", "streams/typed/messages")["data"]
    assert (row["event"]["data"], row["event"]["headers"]) == ({"n": 9007199254740993}, {"trace": "1"})
    page.get_by_label("collection_id").fill("x" * 300)
    sight.expected = ("422",)
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("alert")).to_contain_text("messages[0].collection_id")


def test_a_consumer_is_changed_paused_resumed_and_deleted(sight: Sight, api: Seeder) -> None:
    api.stream("handled")
    api.consumer("handled-c", "handled")
    page = sight.open("consumer/handled-c?tab=settings")
    page.get_by_label("backoff_ms").fill("1000, 5000")
    page.get_by_label("max_deliver").fill("3")
    page.get_by_role("button", name="Save").click()
    sight.says("The settings are saved.")
    now = api.call("GET", "http-consumers/handled-c")
    assert (now["backoff_ms"], now["max_deliver"], now["ack_wait_ms"]) == ([1000, 5000], 3, 600_000)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_label("Why")).to_contain_text("It is paused until someone resumes it. Resume it.")
    assert api.call("GET", "http-consumers/handled-c")["paused"] is True
    page.get_by_role("button", name="Resume").click()
    sight.says("Resumed.")
    assert "paused" not in api.call("GET", "http-consumers/handled-c")
    page.get_by_role("button", name="Delete the consumer").click()
    sight.answer("Cancel")
    page.get_by_role("button", name="Delete the consumer").click()
    sight.answer("Delete", typed="handled-c")
    expect(page.get_by_role("heading", level=1)).to_have_text("Consumers")
    assert "handled-c" not in [one["name"] for one in api.call("GET", "http-consumers")["data"]]


def test_one_delivery_is_released_from_the_list_and_from_its_message(sight: Sight, api: Seeder) -> None:
    api.stream("held")
    api.consumer("held-c", "held")
    first, second = api.publish("held", {"data": 1}, {"data": 2})
    api.take("held-c", 2, "w1")
    page = sight.open("consumer/held-c")
    page.get_by_role("button", name=f"Release {first}").click()
    sight.answer("Release")
    sight.says("Released: 1.")
    assert api.info("held-c")["num_ack_pending"] == 1
    page.get_by_role("link", name=second).click()
    page.get_by_role("button", name="Release for held-c").click()
    sight.says("Released: 1.")
    assert api.info("held-c")["num_ack_pending"] == 0


def test_dead_letters_are_tried_redriven_and_purged(sight: Sight, api: Seeder) -> None:
    api.stream("died")
    api.consumer("died-c", "died")
    api.publish("died", *({"data": n} for n in range(6)))
    ids = api.reject("died-c", 6, "bad")
    page = sight.open("consumer/died-c?tab=dead")
    page.get_by_role("button", name="Dry run of all").click()
    sight.says("would put back 6")
    assert api.info("died-c")["num_dead"] == 6
    page.get_by_label(f"Choose {ids[0]}").check()
    page.get_by_role("button", name="Redrive chosen (1)").click()
    sight.answer("Redrive 1")
    sight.says("Redriven: 1.")
    assert (api.info("died-c")["num_dead"], api.info("died-c")["num_retrying"]) == (5, 1)
    page.get_by_label(f"Choose {ids[1]}").check()
    page.get_by_role("button", name="Purge chosen (1)").click()
    sight.answer("Purge 1", typed="died-c")
    sight.says("Purged: 1.")
    page.get_by_role("link", name=ids[2]).click()
    page.get_by_role("button", name="Redrive for died-c").click()
    sight.says("Redriven: 1.")
    sight.open("consumer/died-c?tab=dead")
    page.get_by_role("button", name="Redrive all").click()
    sight.answer("Redrive all")
    sight.says("Redriven: 3.")
    api.reject("died-c", 2, "worse")
    sight.open("consumer/died-c?tab=dead")
    page.get_by_role("button", name="Purge all").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Purge 2")).to_be_disabled()
    sight.answer("Purge 2", typed="died-c")
    sight.says("Purged: 2.")
    assert api.info("died-c")["num_dead"] == 0


def test_a_long_search_shows_how_far_it_is_and_stops(sight: Sight, api: Seeder) -> None:
    api.stream("long")
    for _ in range(25):
        api.publish("long", *({"data": "hay"} for _ in range(1000)))
    page = sight.open("stream/long")
    # 25 000 messages are three steps of the API: the second is held until the search was stopped.
    steps: list[str] = []
    held: list[Route] = []

    def step(route: Route) -> None:
        steps.append(route.request.url)
        if len(steps) == 2:
            held.append(route)
        else:
            route.continue_()

    page.route("**/messages?*contains=*", step)
    page.get_by_label("Text in data").fill("needle")
    page.get_by_role("button", name="Search").click()
    sight.says("Looked at 10\u202f000 messages, found 0.")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    assert len(steps) == 2
    page.get_by_role("button", name="Look further").click()
    sight.says("Looked at 25\u202f000 messages, found 0.")
    assert len(steps) == 4


def test_the_live_tail_shows_what_comes_and_no_more_than_a_page(sight: Sight, api: Seeder) -> None:
    api.stream("tail")
    api.publish("tail", *({"data": n, "key": "old"} for n in range(300)))
    page = sight.open("stream/tail")
    page.get_by_label("Live tail").check()
    rows = page.get_by_role("table", name="Messages").get_by_role("row")
    expect(rows).to_have_count(101)
    more = page.get_by_text(re.compile(r"^\d+ more$"))
    newest = api.publish("tail", *({"data": n, "key": "new"} for n in range(30)))[-1]
    expect(rows.nth(1)).to_contain_text(newest)
    expect(rows).to_have_count(101)
    expect(more).to_have_count(0)
    page.get_by_label("Key").fill("new")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(31)


def test_a_search_that_is_asked_for_again_looks_again(sight: Sight, api: Seeder) -> None:
    api.stream("again")
    page = sight.open("stream/again")
    expect(page.get_by_text("No message.")).to_be_visible()
    (made,) = api.publish("again", {"data": 1})
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name=made)).to_be_visible()


def test_the_keys_that_are_held_are_named(sight: Sight, api: Seeder) -> None:
    api.stream("keyed")
    api.consumer("keyed-c", "keyed", ordering="key")
    api.publish("keyed", {"key": "k1", "data": 1}, {"key": "k1", "data": 2}, {"key": "k2", "data": 3})
    out, back = api.take("keyed-c", 2, "w1")
    api.nack("keyed-c", [back], delay_ms=600_000)
    page = sight.open("consumer/keyed-c?tab=blocked")
    expect(page.get_by_text("1 messages wait for their keys.")).to_be_visible()
    expect(page.get_by_role("row", name=out["id"])).to_contain_text("k1")
    expect(page.get_by_role("row", name=back["id"])).to_contain_text("k2")
    expect(page.get_by_role("row", name=back["id"])).to_contain_text("retrying")
