"""compose.yaml holds together: what it names exists, and every service can tell that it is well."""

from pathlib import Path

import msgspec
import pytest

from http_api.server.serve import GRACE_S
from http_api.shapes.requests import MAX_WAIT_MS

ROOT = Path(__file__).resolve().parents[2]


class Healthcheck(msgspec.Struct, forbid_unknown_fields=True):
    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str | None = None


class Dependency(msgspec.Struct, forbid_unknown_fields=True):
    condition: str


class Service(msgspec.Struct):
    healthcheck: Healthcheck
    image: str | None = None
    build: str | None = None
    command: str = ""
    environment: dict[str, str] = {}
    depends_on: dict[str, Dependency] = {}
    volumes: list[str] = []
    ports: list[str] = []


class Compose(msgspec.Struct):
    services: dict[str, Service]
    volumes: dict[str, None]


@pytest.fixture(scope="module")
def compose() -> Compose:
    # msgspec reads YAML by PyYAML, and checks the types on the way.
    return msgspec.yaml.decode((ROOT / "compose.yaml").read_bytes(), type=Compose)


@pytest.fixture(scope="module")
def brokers(compose: Compose) -> dict[str, Service]:
    return {name: service for name, service in compose.services.items() if service.build}


def test_there_are_three_brokers_over_one_redis_behind_a_balancer(compose: Compose, brokers: dict[str, Service]) -> None:
    assert set(compose.services) == {"redis", "balancer", *brokers}
    assert len(brokers) == 3
    assert {service.environment["BROKER_REDIS_URL"] for service in brokers.values()} == {"redis://redis:6379"}


def test_every_service_has_an_image_or_is_built_from_a_dockerfile(compose: Compose) -> None:
    for service in compose.services.values():
        assert (service.image is None) != (service.build is None)
        if service.build is not None:
            assert (ROOT / service.build / "Dockerfile").is_file()


def test_every_service_has_a_healthcheck(compose: Compose) -> None:
    for service in compose.services.values():
        assert service.healthcheck.test[0] == "CMD"
        assert len(service.healthcheck.test) > 1
        assert service.healthcheck.retries > 0


def test_brokers_and_balancer_are_judged_by_readiness(compose: Compose, brokers: dict[str, Service]) -> None:
    for service in (*brokers.values(), compose.services["balancer"]):
        assert "/health/ready" in service.healthcheck.test[-1]


def test_services_wait_for_services_that_exist_to_be_healthy(compose: Compose, brokers: dict[str, Service]) -> None:
    for service in compose.services.values():
        assert set(service.depends_on) <= set(compose.services)
        assert {dependency.condition for dependency in service.depends_on.values()} <= {"service_healthy"}
    assert all(set(service.depends_on) == {"redis"} for service in brokers.values())
    assert set(compose.services["balancer"].depends_on) == set(brokers)


def test_mounted_files_and_volumes_exist(compose: Compose) -> None:
    for service in compose.services.values():
        for mount in service.volumes:
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file()
            else:
                assert source in compose.volumes


def test_no_healthcheck_goes_through_a_proxy(compose: Compose) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for service in compose.services.values():
        command = service.healthcheck.test[1:]
        if command[0] == "python":
            assert "http.client" in command[2] and "urllib" not in command[2]  # http.client knows no proxies
            assert command[2] in dockerfile
        elif command[0] == "wget":
            assert command[1:3] == ["-Y", "off"]


def test_redis_keeps_what_it_is_given(compose: Compose) -> None:
    assert "--appendonly yes" in compose.services["redis"].command
    assert "--maxmemory-policy noeviction" in compose.services["redis"].command


def test_brokers_take_their_admin_token_from_the_environment_and_demand_it(brokers: dict[str, Service]) -> None:
    for service in brokers.values():
        assert service.environment["BROKER_ADMIN_TOKEN"].startswith("${BROKER_ADMIN_TOKEN:?")


def test_only_the_balancer_is_reachable_from_outside(compose: Compose) -> None:
    assert [name for name, service in compose.services.items() if service.ports] == ["balancer"]


def test_the_balancer_knows_every_broker_and_outlasts_the_longest_wait(brokers: dict[str, Service]) -> None:
    words = [line.split() for line in (ROOT / "docs" / "haproxy.cfg").read_text().splitlines()]
    servers = {line[1]: line[2] for line in words if line[:1] == ["server"]}
    assert servers == {name: f'"${{{name.upper().replace("-", "_")}-{name}:8080}}"' for name in brokers}
    assert ["option", "httpchk", "GET", "/health/ready"] in words
    # Any server takes any call, none is sent twice, and a worker that goes away is gone for its server too.
    assert ["balance", "roundrobin"] in words
    assert ["option", "abortonclose"] in words
    assert ["option", "clitcpka"] in words and ["option", "srvtcpka"] in words
    assert not {"cookie", "stick", "stick-table", "retry-on"} & {word for line in words for word in line}
    for side in ("client", "server"):
        (timeout,) = (line[2] for line in words if line[:2] == ["timeout", side])
        # Plus 5 s for Redis after the wait; and a server that stops still has its grace period.
        assert int(timeout.removesuffix("s")) > MAX_WAIT_MS / 1000 + 5 + GRACE_S
