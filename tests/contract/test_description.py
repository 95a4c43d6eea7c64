"""The API description, fuzzed: no fault, no undocumented status, every answer of the shape that it promises."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from http_api.description.openapi import describe
from tests.support.processes import serving

CHECKS: list[Any] = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of its own: what is fuzzed may delete everything."""
    data_dir: Path = tmp_path_factory.mktemp("d") / "data"
    with serving("--port", "0", "--data-dir", str(data_dir)) as server:
        httpx.post(server.url + "/v1/http-consumers", json={"name": "fuzzed", "stream_id": "events", "max_deliver": 1})
        httpx.post(server.url + "/v1/streams/events/messages", json={"messages": [{"collection_id": "a:b", "data": n} for n in range(99)]})
        yield server.url


def test_the_description_holds_against_a_fuzzed_server(url: str) -> None:
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    schema = schemathesis.openapi.from_url(url + "/openapi.json")
    results: list[Any] = list(schema.get_all_operations())
    operations = [result.ok() for result in results]
    assert len(operations) > 20
    for operation in operations:
        _fuzz(operation, url)


def _fuzz(operation: Any, url: str) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    def check(case: Any) -> None:
        # What exists is found now and then, and nothing waits for minutes.
        for name, value in (("stream", "events"), ("consumer", "fuzzed")):
            if name in case.path_parameters and len(str(case.path_parameters[name])) % 2:
                case.path_parameters[name] = value
        for place in (case.query, case.body):
            if isinstance(place, dict) and "wait_for" in place:
                place["wait_for"] = "1ms"
        case.call_and_validate(base_url=url, checks=CHECKS)

    check()


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in describe()["paths"].values():
        for operation in methods.values():
            yield operation["operationId"], operation


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in describe()["components"]["schemas"].items():
        for field, described in schema["properties"].items():
            yield f"{name}.{field}", described


def test_every_operation_and_parameter_has_words_and_an_example() -> None:
    tags = {tag["name"] for tag in describe()["tags"]}
    summaries = [operation["summary"] for _, operation in operations()]
    assert len(set(summaries)) == len(summaries)
    for name, operation in operations():
        assert operation["summary"] and operation["description"].endswith("."), name
        assert set(operation["tags"]) <= tags, name
        for parameter in operation["parameters"]:
            assert parameter["description"].endswith("."), (name, parameter["name"])
            assert "example" in parameter, (name, parameter["name"])
        contents = [operation["requestBody"]["content"]] if "requestBody" in operation else []
        contents += [response["content"] for response in operation["responses"].values()]
        for content in contents:
            assert all(described.get("examples") or described.get("example") for described in content.values()), name


def test_every_type_and_field_has_words_and_an_example() -> None:
    for name, schema in describe()["components"]["schemas"].items():
        assert schema["description"].endswith("."), name
    for name, described in fields():
        assert described["description"].endswith("."), name
        assert described["examples"], name
        # Generators take a field with a default for one that is always there.
        assert "default" not in described, name


def test_every_example_is_of_the_shape_that_it_is_an_example_of() -> None:
    document = describe()

    def check(where: Any, schema: Any, value: Any) -> None:
        whole = {"components": document["components"], **schema}
        assert jsonschema_rs.is_valid(whole, value), (where, value)

    for name, described in fields():
        check(name, described, described["examples"][0])
    for name, operation in operations():
        for parameter in operation["parameters"]:
            check((name, parameter["name"]), parameter["schema"], parameter["example"])
        contents = [operation["requestBody"]["content"]] if "requestBody" in operation else []
        contents += [response["content"] for response in operation["responses"].values()]
        for content in contents:
            for described in content.values():
                for example in described.get("examples", {}).values():
                    check(name, described["schema"], example["value"])


def test_the_description_speaks_to_users_of_the_api() -> None:
    text = json.dumps(describe())
    assert re.findall(r"\bC\d{1,2}\b", text) == []
    assert re.findall(r"\bsection \d|\bNone\b|\b(?:GET|POST|PATCH|DELETE) /v1", text) == []
    assert describe()["servers"][0]["url"] == "/"
