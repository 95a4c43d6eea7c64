"""Ten tasks in a user's words (B6 of the console): each is done with what stands on the screen."""

from datetime import datetime
from zoneinfo import ZoneInfo

from playwright.sync_api import expect

from tests.console.broker_api import Seeder
from tests.console.conftest import Sight


def test_find_order_4711_and_say_which_consumer_has_not_had_it(sight: Sight, api: Seeder) -> None:
    api.stream("t1")
    api.consumer("t1-had", "t1")
    api.consumer("t1-not", "t1")
    api.publish("t1", *({"data": {"order": number}} for number in range(4700, 4720)))
    api.ack("t1-had", api.take("t1-had", 20, "w1"))
    page = sight.open("streams")
    page.get_by_role("link", name="t1", exact=True).click()
    page.get_by_label("Text in data").fill("4711")
    page.get_by_role("button", name="Search").click()
    sight.says("found 1")
    page.get_by_role("table", name="Messages").get_by_role("link").click()
    expect(page.get_by_role("row", name="t1-had")).to_contain_text("acked")
    expect(page.get_by_role("row", name="t1-not")).to_contain_text("not delivered yet")


def test_release_what_dead_worker_w3_holds(sight: Sight, api: Seeder) -> None:
    api.stream("t2")
    api.consumer("t2-c", "t2")
    api.publish("t2", *({"data": n} for n in range(5)))
    api.take("t2-c", 3, "w3")
    api.take("t2-c", 2, "w4")
    page = sight.open("consumers")
    page.get_by_label("Search by name").fill("t2")
    page.get_by_role("link", name="t2-c").click()
    page.get_by_role("button", name="Release all of w3").click()
    sight.answer("Release")
    sight.says("Released: 3.")
    expect(page.get_by_role("table", name="Workers")).not_to_contain_text("w3")
    left = api.call("GET", "http-consumers/t2-c/pending")["data"]
    assert [row["worker"] for row in left] == ["w4", "w4"]


def test_redrive_only_the_letters_that_failed_with_timeout_after_noon(sight: Sight, api: Seeder) -> None:
    api.stream("t3")
    api.consumer("t3-c", "t3")
    api.publish("t3", *({"data": n} for n in range(9)))
    morning = api.reject("t3-c", 3, "timeout")
    refused = api.reject("t3-c", 3, "refused")
    afternoon = api.reject("t3-c", 3, "timeout: read")
    dead_at = {row["id"]: row["dead_at"] for row in api.call("GET", "http-consumers/t3-c/dead-letters")["data"]}
    noon = dead_at[afternoon[0]]
    assert dead_at[morning[-1]] < noon
    page = sight.open("consumer/t3-c?tab=dead")
    page.get_by_label("The worker said").fill("timeout")
    local = datetime.fromisoformat(noon).astimezone(ZoneInfo("Asia/Kolkata"))
    page.get_by_label("Dead from").fill(local.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3])
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name="Redrive these 3").click()
    sight.answer("Redrive 3")
    sight.says("Redriven: 3.")
    dead = {row["id"] for row in api.call("GET", "http-consumers/t3-c/dead-letters")["data"]}
    assert dead == {*morning, *refused}


def test_find_out_why_billing_gets_nothing_and_mend_it(sight: Sight, api: Seeder) -> None:
    api.stream("t4")
    api.consumer("billing", "t4", max_ack_pending=2)
    api.publish("t4", *({"data": n} for n in range(5)))
    api.take("billing", 2, "w1")
    page = sight.open()
    expect(page.get_by_role("row", name="billing")).to_contain_text("max_ack_pending")
    page.get_by_role("link", name="billing").click()
    why = page.get_by_label("Why")
    expect(why).to_contain_text("2 deliveries are out, and max_ack_pending lets no more than 2 be out at once.")
    why.get_by_role("link", name="max_ack_pending").click()
    page.get_by_label("max_ack_pending").fill("10")
    page.get_by_role("button", name="Save").click()
    expect(why).to_contain_text("The next call of next gets a message.")
    assert api.info("billing")["idle_because"] is None


def test_stop_mail_while_its_provider_is_down_and_start_it_again(sight: Sight, api: Seeder) -> None:
    api.stream("t5")
    api.consumer("t5-mail", "t5")
    api.publish("t5", {"data": 1})
    page = sight.open("consumer/t5-mail")
    page.get_by_role("button", name="Pause").click()
    sight.says("Paused")
    assert api.call("GET", "http-consumers/t5-mail/next")["data"] == []
    page.get_by_role("button", name="Resume").click()
    sight.says("Resumed.")
    api.take("t5-mail", 1, "w1")


def test_let_a_consumer_begin_again_and_see_first_what_it_forgets(sight: Sight, api: Seeder) -> None:
    api.stream("t6")
    api.consumer("t6-c", "t6")
    api.publish("t6", *({"data": n} for n in range(7)))
    api.reject("t6-c", 2, "bad")
    api.take("t6-c", 3, "w1")
    page = sight.open("consumer/t6-c?tab=settings")
    page.get_by_role("button", name="Reset…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 deliveries that are out")
    expect(dialog).to_contain_text("2 dead letters")
    sight.answer("Reset", typed="t6-c")
    sight.says("7 messages wait.")
    assert (api.info("t6-c")["num_pending"], api.info("t6-c")["num_dead"]) == (7, 0)


def test_give_ada_a_token_that_may_look_for_30_days(guarded_sight: Sight, guarded: Seeder) -> None:
    sight = guarded_sight
    page = sight.open("tokens")
    page.get_by_label("Access token").fill(guarded.headers["Authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Expires in").fill("30d")
    page.get_by_role("button", name="Create the token").click()
    text = page.get_by_label("token", exact=True).inner_text()
    assert Seeder(guarded.url, text).call("GET", "access")["scopes"] == ["read"]
    page.get_by_role("button", name="I have it").click()
    expect(page.get_by_text(text)).to_have_count(0)
    page.get_by_role("button", name="Revoke ada").click()
    sight.answer("Revoke")
    sight.says("The token is revoked.")
    expect(page.get_by_role("row", name="ada")).to_have_count(0)


def test_take_back_a_reminder_that_was_not_sent_yet(sight: Sight, api: Seeder) -> None:
    api.stream("t8")
    api.publish("t8", *({"id": f"remind/{n}", "data": n, "deliver_at": "2031-01-01T00:00:00Z"} for n in range(2)))
    page = sight.open("stream/t8?tab=scheduled")
    page.get_by_role("button", name="Cancel remind/1").click()
    sight.answer("Cancel the event")
    sight.says("The event is cancelled.")
    expect(page.get_by_role("button", name="Cancel remind/1")).to_have_count(0)
    assert [row["id"] for row in api.call("GET", "streams/t8/scheduled")["data"]] == ["remind/0"]


def test_mend_a_letter_whose_data_is_wrong_and_publish_it_again(sight: Sight, api: Seeder) -> None:
    api.stream("t9")
    api.consumer("t9-c", "t9")
    api.publish("t9", '{"collection_id": "shop:orders", "id": "o1", "key": "k1", "data": {"total": "12", "n": 9007199254740993}}')
    (dead,) = api.reject("t9-c", 1, "total is no number")
    page = sight.open("consumer/t9-c?tab=dead")
    page.get_by_role("button", name=f"Edit and publish {dead}").click()
    data = page.get_by_label("data")
    expect(data).to_have_value('{"total": "12", "n": 9007199254740993}')
    data.fill('{"total": 12, "n": 9007199254740993}')
    page.get_by_role("button", name="Publish").click()
    sight.says("created")
    (again,) = api.take("t9-c", 1, "w1")
    assert (again["event"]["data"], again["event"]["key"]) == ({"total": 12, "n": 9007199254740993}, "k1")


def test_make_a_consumer_of_github_alone_and_see_before_what_it_gets(sight: Sight, api: Seeder) -> None:
    api.stream("t10")
    api.publish("t10", *({"collection_id": name, "data": 1} for name in ("github:issues", "github:pulls", "shop:orders")))
    page = sight.open("new-consumer?stream=t10")
    page.get_by_label("name").fill("t10-c")
    page.get_by_label("collection_id").fill("github:*")
    sight.says("2 of the newest 3 messages match.")
    expect(page.get_by_label("curl", exact=True)).to_contain_text('"filters":{"collection_id":["github:*"]}')
    page.get_by_role("button", name="Create the consumer").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Consumer t10-c")
    assert api.info("t10-c")["num_pending"] == 2
