"""The embedded Redis' allocator."""

import sys
from pathlib import Path

import pytest

from broker.embedded import _environment
from tests.support.servers import BACKENDS, binary_of, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the C library's allocator is used")


@pytest.mark.parametrize("backend", BACKENDS)
def test_valkey_has_mimalloc_and_other_binaries_have_their_own(backend: str) -> None:
    with running(backend) as server:
        loaded = Path(f"/proc/{server.pid}/maps").read_text()

    assert ("libmimalloc" in loaded) is (backend == "valkey")


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_user_preloads_stays(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/theirs.so")

    assert _environment(binary_of(backend))["LD_PRELOAD"].split(":")[-1] == "/opt/theirs.so"
