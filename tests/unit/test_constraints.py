"""constraints.txt pins what pyproject.toml asks for, and everything that installs the project goes by it."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
BY_CONSTRAINTS = "PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
DIRECT = [
    requirement
    for text in [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *EXTRAS["embedded"],
        *EXTRAS["otel"],
        *EXTRAS["test"],
        *EXTRAS["docs"],
    ]
    if (requirement := Requirement(text)).name != PROJECT["project"]["name"]
]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}


def test_every_line_is_a_pin_of_a_package_of_its_own() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[a-z0-9.]+", line)] == []
    assert len(PINS) == len(LINES)


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_a_direct_dependency_is_pinned_within_its_bound(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


@pytest.mark.parametrize(("file", "times"), [("README.md", 2), ("Dockerfile", 1), (".ci/run", 1)])
def test_whoever_installs_the_project_goes_by_the_pins(file: str, times: int) -> None:
    text = (ROOT / file).read_text().replace("\\\n", " ")
    installs = [line for line in text.splitlines() if re.search(r"pip\"? install", line)]
    assert len(installs) == times
    for line in installs:
        assert re.search(BY_CONSTRAINTS + r' +\S*pip"? install', line), line


def test_the_image_is_built_with_the_file() -> None:
    assert not any(fnmatch("constraints.txt", pattern) for pattern in (ROOT / ".dockerignore").read_text().splitlines())
    copied, installed = ((ROOT / "Dockerfile").read_text().index(step) for step in ("COPY . .", "pip install"))
    assert copied < installed
