"""How the embedded Redis is run: what it keeps on disk, and its allocator."""

import sys
from pathlib import Path

import pytest
import redis

from broker.store.embedded import _environment
from tests.support.servers import BACKENDS, binary_of, running

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the C library's allocator is used")


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_evicted_and_the_file_of_writes_is_not_rewritten_all_the_time(backend: str) -> None:
    with running(backend) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        config = client.config_get("appendfsync", "save", "maxmemory-policy", "auto-aof-rewrite-min-size")

    assert config == {
        "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction", "auto-aof-rewrite-min-size": str(256 << 20),
    }  # fmt: skip


@on_linux
@pytest.mark.parametrize("backend", BACKENDS)
def test_valkey_has_mimalloc_and_other_binaries_have_their_own(backend: str) -> None:
    with running(backend) as server:
        loaded = Path(f"/proc/{server.pid}/maps").read_text()

    assert ("libmimalloc" in loaded) is (backend == "valkey")


@on_linux
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_user_preloads_stays(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/opt/theirs.so")

    assert _environment(binary_of(backend))["LD_PRELOAD"].split(":")[-1] == "/opt/theirs.so"
