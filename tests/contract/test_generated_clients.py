"""Clients that generators make of /openapi.json: they compile, let optional fields be left out, and work."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from http_api.description.openapi import describe
from http_api.routes import OPERATIONS
from tests.support.npm import with_packages
from tests.support.processes import serving

GENERATORS = Path(__file__).resolve().parents[1] / "generators"
TSC = ["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_text(json.dumps(describe()))
    return path


def test_the_validator_finds_nothing() -> None:
    assert list(OpenAPIV31SpecValidator(describe()).iter_errors()) == []


@pytest.fixture(scope="module")
def python_client(document: Path) -> Iterator[Path]:
    """The package that openapi-python-client makes, to be imported."""
    place = document.parent / "python"
    config = document.parent / "config.yaml"
    config.write_text("post_hooks: []\n")  # which would format it
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(document), "--config", str(config)]
    done = subprocess.run([*command, "--meta", "none", "--output-path", str(place / "generated_broker")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sys.path.insert(0, str(place))
    yield place / "generated_broker"
    sys.path.remove(str(place))


def module(name: str) -> Any:
    return importlib.import_module(f"generated_broker.{name}")


def test_the_python_client_has_every_operation(python_client: Path) -> None:
    made = {path.stem.replace("_", "") for path in (python_client / "api").glob("*/*.py")} - {"init"}
    assert made == {operation.name.lower() for operation in OPERATIONS}


@pytest.mark.usefixtures("python_client")
def test_a_round_trip_with_the_python_client(tmp_path_factory: pytest.TempPathFactory) -> None:
    models = module("models")
    data_dir = tmp_path_factory.mktemp("d") / "data"
    with serving("--port", "0", "--data-dir", str(data_dir)) as server, ExitStack() as closing:
        client = module("client").Client(base_url=server.url, raise_on_unexpected_status=True)
        closing.enter_context(client)

        def call(operation: str, *args: str, **options: Any) -> Any:
            return module(f"api.{operation}").sync(*args, client=client, **options)

        stream = call("streams.create_stream", body=models.StreamSpec(name="orders", kind="events"))
        assert (stream.name, stream.dedupe_window_ms) == ("orders", 120_000)
        assert call("consumers.create_consumer", body=models.ConsumerSpec(name="worker", stream_id="orders")).max_deliver == -1
        events = models.PublishEvents(messages=[models.EventMessage(collection_id="shop:orders", data={"n": n}) for n in range(2)])
        assert call("publishing.publish", "orders", body=events).info.to_dict() == {"created": 2}
        batch = call("deliveries.next_", "worker", batch_size=2)
        assert [delivery.event.data for delivery in batch.data] == [{"n": 0}, {"n": 1}]
        tokens = [delivery.ack_token for delivery in batch.data]
        assert call("deliveries.ack", "worker", body=models.AckRequest(ack_tokens=tokens[:1])).acked == 1
        back = models.NackRequest(nacks=[models.NackOne(ack_token=tokens[1], outcome="reject", reason="no such shop")])
        assert call("deliveries.nack", "worker", body=back).nacked == 1
        (letter,) = call("dead_letters.list_dead_letters", "worker").data
        assert (letter.reason, letter.last_nack_reason) == ("rejected", "no such shop")
        assert call("consumers.list_consumers", info=True).data[0].info.num_dead == 1
        assert call("consumers.get_consumer", "nobody").code == "CONSUMER_NOT_FOUND"


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generators for TypeScript, outside of the tree."""
    return with_packages(GENERATORS, tmp_path_factory.mktemp("npm"))


def test_clients_in_typescript_compile_and_let_optional_fields_be_left_out(npm: Path, document: Path) -> None:
    for command in (
        ["openapi-typescript", str(document), "-o", "ts/schema.ts"],
        ["openapi-ts", "-i", str(document), "-o", "hey"],
        ["tsc", *TSC, "--lib", "es2022,dom,dom.iterable", "use.ts"],
    ):
        program = npm / "node_modules" / ".bin" / command[0]
        done = subprocess.run([program, *command[1:]], cwd=npm, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
