"""Errors of validation name the field by its path (C3)."""

import re
from typing import Annotated, Any

import msgspec
import pytest

from broker.consumers.fields import ConsumerSpec
from broker.consumers.filters import Filters
from broker.errors import InvalidRequest, ValidationFailed
from broker.messages.incoming import decode_batch, decode_one
from broker.messages.validation import checked, decode
from broker.streams.lifecycle import StreamSpec


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, msgspec.Meta(ge=1)]
    name: str = ""


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[Inner] = []
    inner: Inner | None = None
    table: dict[str, int] = {}


DECODER = msgspec.json.Decoder(Outer)


def errors(body: bytes, prefix: str = "", decoder: "msgspec.json.Decoder[Any]" = DECODER) -> dict[str, list[str]]:
    """What validation says of the body."""
    with pytest.raises(ValidationFailed) as refusal:
        decode(decoder, body, prefix)
    return refusal.value.errors


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (b"[]", "body", "must be an object, not a list"),
        (b"null", "body", "must be an object, not null"),
        (b'{"color":1}', "color", "unknown field; there are rows, inner, table"),
        (b'{"inner":{}}', "inner.number", "required"),
        (b'{"inner":{"number":1,"color":2}}', "inner.color", "unknown field; there are number, name"),
        (b'{"inner":{"number":0}}', "inner.number", "must be an integer of at least 1"),
        (b'{"rows":7}', "rows", "must be a list, not an integer"),
        (b'{"rows":[{"number":1},{"number":"2"}]}', "rows[1].number", "must be an integer, not a string"),
        (b'{"rows":[{}]}', "rows[0].number", "required"),
        (b'{"rows":[{"number":1},{"number":1,"a.b":2}]}', "rows[1].a.b", "unknown field; there are number, name"),
        (b'{"table":{"a":"b"}}', "table.a", "must be an integer, not a string"),
        (b'{"table":{"a":1,"b":{},"c":"d"}}', "table.b", "must be an integer, not an object"),
        (b'{"table":{"a":1,"b":null}}', "table.b", "must be an integer, not null"),
        (b'{"table":{"a":"b"},,}', "table", "must be an integer, not a string"),
        (b'{"table":{"a":"b"},"table":null}', "table", "must be an integer, not a string"),
        (b'{"table":{"a":"b"},"table":{}}', "table", "must be an integer, not a string"),
        (b'{"table":{"a":"x","a":1,"a":"y"}}', "table.a", "must be an integer, not a string"),
        (b'{"table":{"a":"b"},"rows":"\xff"}', "table", "must be an integer, not a string"),
    ],
)
def test_paths(body: bytes, path: str, reason: str) -> None:
    assert errors(body) == {path: [reason]}


@pytest.mark.parametrize(
    ("body", "path"), [(b"[]", "line[3]"), (b'{"color":1}', "line[3].color"), (b'{"rows":[{}]}', "line[3].rows[0].number")]
)
def test_paths_after_a_prefix(body: bytes, path: str) -> None:
    assert errors(body, "line[3]").keys() == {path}


def test_the_summary_is_one_sentence_that_names_the_field() -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode(DECODER, b'{"inner":{}}')
    assert refusal.value.summary == "inner.number: required."


@pytest.mark.parametrize("body", [b"{", b"{} {}", b"{'a':1}", b'{"rows":NaN}', b"\xff\xfe", b'{"a":"\xff"}', b"[" * 9 + b"1" + b"]" * 8])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        decode(msgspec.json.Decoder(dict[str, Any] | list[Any]), body)
    assert refusal.value.summary.startswith("The body is not valid JSON: ")
    assert not re.search("DecodeError|codec|truncated|malformed|recursion", refusal.value.summary)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a":"b', "it ends too early"), (b'{"a":[1,', "it ends too early"),
        (b'{"a":"\\ud83d\\ude00', "it ends too early"), (b'{"a":"\xff"}', "it is not UTF-8"),
    ],
)  # fmt: skip
def test_c3_why_it_is_no_json_is_said_in_words_about_the_body(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        decode(msgspec.json.Decoder(dict[str, Any]), body)
    assert refusal.value.summary == f"The body is not valid JSON: {reason}."


# How deep is too deep is Python's to say: 1,000 in 3.11, 10,000 in 3.13.
@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_c3_a_body_that_is_nested_too_deeply_is_called_so(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        decode(msgspec.json.Decoder(list[Any]), body)
    assert refusal.value.summary == "The body is nested too deeply."


@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        ("records", b"{}", "messages"),
        ("records", b'{"messages":[]}', "messages"),
        ("records", b'{"messages":[{"collection_id":"a","id":"1"},{"id":"1"}]}', "messages[1].collection_id"),
        ("records", b'{"messages":[{"collection_id":"","id":"1"}]}', "messages[0].collection_id"),
        ("records", b'{"messages":[{"collection_id":"a","event":"x"}]}', "messages[0].event"),
        ("events", b'{"messages":[{"collection_id":"a"}]}', "messages[0].data"),
        ("events", b'{"messages":[{"collection_id":"a","data":1,"deleted":true}]}', "messages[0].deleted"),
        ("events", b'{"messages":[{"collection_id":"a","data":1}],"stream":"s"}', "stream"),
    ],
)
def test_paths_of_messages(kind: Any, body: bytes, path: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode_batch(kind, body)
    assert refusal.value.errors.keys() == {path}


def test_paths_of_lines() -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode_one("events", b'{"collection_id":"a"}', "line[7]")
    assert refusal.value.errors == {"line[7].data": ["required"]}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"max_deliver": -2}, "max_deliver"),
        ({"backoff_ms": [1, -1]}, "backoff_ms[1]"),
        ({"filters": Filters(provider="")}, "filters.provider"),
        ({"filters": Filters(provider=["a", ""])}, "filters.provider[1]"),
        ({"ordering": "time"}, "ordering"),
    ],
)
def test_a_struct_that_was_made_in_python_is_checked_alike(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        checked(ConsumerSpec(**fields), ConsumerSpec)
    assert refusal.value.errors.keys() == {path}


def test_a_struct_that_is_right_is_given_back() -> None:
    spec = ConsumerSpec(name="a", filters=Filters(provider=["a", "b"]), backoff_ms=[1, 2], metadata={"a": [1, None]})
    assert checked(spec, ConsumerSpec) == spec


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b'{"collection_id":"a","data":1}', "messages", 'required: write {"messages": [{"collection_id": ..., "data": ...}]}'),
        (b'[{"collection_id":"a","data":1}]', "messages", 'required: write {"messages": [{"collection_id": ..., "data": ...}]}'),
        (b'{"message":[]}', "messages", 'required: write {"messages": [{"collection_id": ..., "data": ...}]}'),
        (b"{}", "messages", 'required: write {"messages": [{"collection_id": ..., "data": ...}]}'),
        (b'{"message":[]}', "message", "unknown field; perhaps messages is meant"),
        (b'{"messages":[]}', "messages", "must be a list of at least 1 item"),
        (b'{"messages":[{"collection_id":"","data":1}]}', "messages[0].collection_id", "must be a string of at least 1 character"),
        (b'{"messages":[{"collection":"x","data":1}]}', "messages[0].collection", "unknown field; perhaps collection_id is meant"),
        (b'{"messages":[{"collection_id":"a","data":1,"ttl_ms":1.5}]}', "messages[0].ttl_ms", "must be an integer, not a decimal number"),
    ],
)
def test_c3_what_is_wrong_with_a_publish_is_said_in_words_of_the_api(body: bytes, field: str, reason: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        decode_batch("events", body)
    assert refusal.value.errors[field] == [reason]


def test_c3_an_empty_body_is_answered_with_what_to_write() -> None:
    with pytest.raises(InvalidRequest, match=re.escape('The body is empty: write {"messages": [{"collection_id": ..., "data": ...}]}.')):
        decode_batch("records", b" ")
    with pytest.raises(InvalidRequest, match=r"The body is empty; it must be a JSON object with rows, inner, table\."):
        decode(DECODER, b"")


@pytest.mark.parametrize(
    ("kind", "body", "field", "reason"),
    [
        (StreamSpec, b'{"name":"x","kind":"queue"}', "kind", "must be events or records"),
        (StreamSpec, b'{"nam":"x"}', "nam", "unknown field; perhaps name is meant"),
        (ConsumerSpec, b'{"filters":{"provider":7}}', "filters.provider", "must be a string or a list, not an integer"),
        (ConsumerSpec, b'{"filters":{"providers":"x"}}', "filters.providers", "unknown field; perhaps provider is meant"),
        (ConsumerSpec, b'{"max_deliver":1001}', "max_deliver", "must be an integer of at most 1000"),
        (ConsumerSpec, b'{"backoff_ms":[-1]}', "backoff_ms[0]", "must be an integer of at least 0"),
    ],
)
def test_c3_reasons_are_in_words_of_the_api(kind: type, body: bytes, field: str, reason: str) -> None:
    assert errors(body, decoder=msgspec.json.Decoder(kind)) == {field: [reason]}
