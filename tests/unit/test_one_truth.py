"""Each command has an option for every body field and query parameter of its API call (C48)."""

from typing import Annotated, Any, Literal

import click
import msgspec
import pytest

from http_api.cli.fields import given, options_of
from http_api.description import words
from http_api.routes import OPERATIONS, Operation
from http_api.settings import SOURCES
from tests.support.command_line import commands

# operation -> its command; None: no command is that call
COMMANDS: dict[str, str | None] = {
    "publish": "publish", "getMessage": "message", "getRecord": "record", "listAudit": "audit",
    "createStream": "stream create", "listStreams": "stream list", "getStream": "stream show", "updateStream": "stream update",
    "deleteStream": "stream delete", "listMessages": "stream messages", "listScheduled": "stream scheduled",
    "cancelScheduled": "stream cancel",
    "createConsumer": "consumer create", "listConsumers": "consumer list", "getConsumer": "consumer show",
    "updateConsumer": "consumer update", "replaceConsumer": "consumer update", "deleteConsumer": "consumer delete",
    "peek": "consumer peek", "listPending": "consumer pending", "listRetrying": "consumer retrying",
    "releasePending": "consumer release", "resetConsumer": "consumer reset", "pauseConsumer": "consumer pause",
    "resumeConsumer": "consumer resume",
    "listDeadLetters": "dead-letters list", "summarizeDeadLetters": "dead-letters summary", "redrive": "dead-letters redrive",
    "purgeDeadLetters": "dead-letters purge",
    "createToken": "token create", "listTokens": "token list", "revokeToken": "token revoke",
    # `consume` does these its own way, and prints what comes.
    "next": None, "nextByPost": None, "ack": None, "nack": None, "extend": None,
    "access": None, "live": None, "ready": None, "metrics": None, "openapi": None,
}  # fmt: skip
PAGES = {"after", "limit"}
# What a command has no option for: aliases; fields that cannot be changed; the pages and the counts of lists, which are
# whole.
LEFT_OUT = {
    "publish": {"messages"},  # the file
    "consumer create": {"ack_wait"},
    "stream update": {"kind"},
    "consumer update": {"stream_id", "deliver_policy", "filters", "ordering", "ack_wait"},
    "consumer list": {*PAGES, "info", "metadata"},
    "stream list": PAGES,
    "stream scheduled": PAGES,
    "consumer pending": PAGES,
    "consumer retrying": PAGES,
    "dead-letters list": PAGES,
    "audit": {"after"},
}
# Options that are called otherwise than what they are in the API.
RENAMED = {"from": "since", "to": "until", "order": "newest_first"}


def taken(operation: Operation) -> set[str]:
    """The fields of the body, and the query parameters."""
    bodies = operation.body if isinstance(operation.body, tuple) else (operation.body,) if operation.body else ()
    fields = {field.name for body in bodies for field in msgspec.structs.fields(body)}
    return fields | {query.name for query in operation.query}


def test_every_operation_has_a_command_or_is_known_to_have_none() -> None:
    assert {operation.name for operation in OPERATIONS} == COMMANDS.keys()
    assert {command for command in COMMANDS.values() if command} <= commands().keys()


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if COMMANDS.get(o.name)], ids=lambda operation: operation.name)
def test_a_command_takes_what_its_call_takes(operation: Operation) -> None:
    name = COMMANDS[operation.name]
    assert name is not None
    parameters = {parameter.name for parameter in commands()[name].params}
    lacking = {RENAMED.get(field, field) for field in taken(operation)} - parameters
    assert lacking == LEFT_OUT.get(name, set())


def test_serve_takes_every_setting_that_has_an_option() -> None:
    options = {option.name: option for option in commands()["serve"].params if isinstance(option, click.Option)}
    assert options.keys() == {name for name, source in SOURCES.items() if source.option}
    for name, option in options.items():
        assert ([SOURCES[name].option], SOURCES[name].variable, SOURCES[name].help) == (option.opts, option.envvar, option.help)


class Body(msgspec.Struct):
    """A body with a field of each type that an option is made of."""

    name: Annotated[str, msgspec.Meta(max_length=9)] | None = None
    size: Annotated[int, msgspec.Meta(ge=1)] | None = 7
    mode: Literal["fast", "safe"] | msgspec.UnsetType | None = "safe"
    sure: bool | None = False
    after: str | None = None
    delays: list[int] | None = []
    labels: list[str] | None = None
    extra: dict[str, Any] | None = {}
    wait: int | str | None = None


WORDS = {"size": "Of `this` size.", "after": "After when; null = from the start.", "wait": "How long."}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> click.Command:
    """A command that takes the body and gives what the API would get."""
    for field in msgspec.structs.fields(Body):
        monkeypatch.setitem(words.FIELDS, f"Body.{field.name}", (WORDS.get(field.name, "Words."), None))
    return click.command(options_of(Body)(lambda **fields: given(fields)))


def test_a_type_makes_the_options_of_a_command(command: click.Command) -> None:
    def sent(*args: str) -> Any:
        with command.make_context("it", list(args)) as context:
            return command.invoke(context)

    assert sent() == {}
    assert sent("n", "--size", "9", "--mode", "fast", "--no-sure") == {"name": "n", "size": 9, "mode": "fast", "sure": False}
    assert sent("--delays", "1,20", "--label", "a", "--label", "b") == {"delays": [1, 20], "labels": ("a", "b")}
    assert sent("--extra", '{"a":1}', "--wait", "2s", "--sure") == {"extra": {"a": 1}, "wait": 2000, "sure": True}
    for wrong in ("--size=x", "--mode=slow", "--delays=a", "--extra=[]", "--extra={", "--wait=soon"):
        with pytest.raises(click.BadParameter):
            sent(wrong)


def test_help_has_the_words_and_the_defaults_of_the_type(command: click.Command) -> None:
    shown = dict(
        record
        for option in command.params
        if isinstance(option, click.Option) and (record := option.get_help_record(click.Context(command)))
    )
    assert shown["--size N"] == "Of this size.  [default: (7)]"
    assert shown["--after TEXT"] == "After when.  [default: (from the start)]"
    assert shown["--mode [fast|safe]"] == "Words.  [default: (safe)]"
    assert shown["--sure / --no-sure"] == "Words.  [default: (no)]"


def test_a_field_of_another_type_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(words.FIELDS, "Odd.share", ("Words.", None))
    with pytest.raises(TypeError, match=r"Odd\.share"):
        options_of(msgspec.defstruct("Odd", [("share", float)]))(lambda: None)
