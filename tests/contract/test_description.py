"""The API description, fuzzed: no fault, no undocumented status, every answer of the shape that it promises."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from benchmarks.processes import serving

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
