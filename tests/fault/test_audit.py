"""The audit log where a call's outcome is unknown: the change may have been made, so it is noted as such."""

import json
import logging

import pytest

from http_api.monitoring.logs import _Json
from tests.support.cutting import proxy
from tests.support.servers import BACKENDS, running
from tests.support.serving import serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_change_whose_outcome_is_unknown_is_noted(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running(backend) as server:
        async with proxy(server.socket) as (between, url), serving(url) as http:
            await http.post("/v1/http-consumers", json={"name": "c", "stream_id": "events"})
            await http.post("/v1/http-consumers/c/pause", json={})  # the script is loaded
            between.cut_at(b"EVALSHA", deliver=True)
            assert (await http.post("/v1/http-consumers/c/resume")).status_code == 504
            found = (await http.get("/v1/audit")).json()["data"]
    assert [(entry["what"], entry["outcome"]) for entry in found] == [
        ("resumeConsumer", "unknown"), ("pauseConsumer", "done"), ("createConsumer", "done"),
    ]  # fmt: skip
    lines = [json.loads(_Json().format(line)) for line in caplog.records if line.name == "broker.audit"]
    assert lines[-1]["outcome"] == "unknown"
