"""Payloads are shown as what they are (B4)."""

import json

from playwright.sync_api import expect

from tests.console.broker_api import Seeder
from tests.console.conftest import Sight

ODD = (
    '{"big": 9007199254740993, "huge": 1e400, "spelled": 1.50, "10": "ten", "2": "two", '
    '"__proto__": {"x": 1}, "rtl": "\u202eevil", "twice": 1, "twice": 2}'
)


def one(api: Seeder, stream: str, data: str) -> str:
    """A stream with one message; gives its id."""
    api.stream(stream)
    (made,) = api.publish(stream, f'{{"collection_id": "a:b", "data": {data}}}')
    return made


def test_numbers_names_and_marks_are_shown_as_they_were_sent(sight: Sight, api: Seeder) -> None:
    page = sight.open(f"message/odd/{one(api, 'odd', ODD)}")
    data = page.get_by_role("region", name="Data")
    lines = [line.strip() for line in data.get_by_role("listitem").nth(0).inner_text().split("\n")]
    for line in ("big: 9007199254740993", "huge: 1e400", "spelled: 1.50", 'rtl: "U+202Eevil"', "twice: 1", "twice: 2"):
        assert line in lines
    assert lines.index('10: "ten"') < lines.index('2: "two"')
    assert any("__proto__:" in line for line in lines)
    data.get_by_role("button", name="Raw").click()
    expect(data.get_by_label("Raw text")).to_have_text(ODD.replace("\u202e", "U+202E"))


def test_deep_nesting_is_opened_a_level_at_a_time(sight: Sight, api: Seeder) -> None:
    page = sight.open(f"message/deep/{one(api, 'deep', '[' * 500 + ']' * 500)}")
    data = page.get_by_role("region", name="Data")
    for depth in range(5):
        expect(data.get_by_role("listitem")).to_have_count(depth + 2)
        data.get_by_role("button", expanded=False).last.click()


def test_three_megabytes_are_cut_until_all_is_asked_for(sight: Sight, api: Seeder) -> None:
    text = "x" * 3_000_000
    made = one(api, "large", json.dumps({"text": text, "rows": list(range(5000))}))
    page = sight.open("stream/large")
    expect(page.get_by_role("table", name="Messages").get_by_role("row")).to_have_count(2)
    assert len(page.content()) < 50_000
    page.get_by_role("link", name=made).click()
    data = page.get_by_role("region", name="Data")
    expect(data).to_contain_text("show all 3\u202f000\u202f000 characters")
    data.get_by_role("button", name="rows").click()
    expect(data.get_by_role("listitem")).to_have_count(1 + 2 + 100 + 1)
    data.get_by_role("button", name="show more").click()
    expect(data.get_by_role("listitem")).to_have_count(1 + 2 + 1000 + 1)
    assert len(page.content()) < 500_000
    data.get_by_role("button", name="show all").click()
    assert text in data.inner_text()


def test_a_reader_takes_any_json_apart_as_python_does(sight: Sight) -> None:
    page = sight.open()
    texts = [
        '{"a": [1, {"b": "}\\\\\\"]"}], "c": {}}',
        "[]",
        '"\\\\"',
        "[[],[[]], null , true,-1.5]",
        ' { "x" : "y" } ',
        '{"\\u0041": 1}',
    ]
    for text in texts:
        found = page.evaluate("async (text) => (await import('./json.js')).read(text)", text)
        assert found == json.loads(text)
    found = page.evaluate("async () => (await import('./json.js')).read('[9007199254740993, 1e400, 1.50, 12]')")
    assert found == ["9007199254740993", "1e400", "1.50", 12]
