"""Data directories as people have them: odd names, other people's files, links, mounted volumes (C50)."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
import redis

from broker.store.client import Store
from broker.store.embedded import Embedded, EmbeddedFailed, is_running
from tests.support.servers import running

NAMES = [b"a%2Fb", b"a#b", b"a?b", b"two words", b"two\nlines", b"\xff\xfe", b"'\"\\", b" x", "ü".encode(), b"--port", b"$HOME;x"]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short path, for the socket in it."""
    return tmp_path_factory.mktemp("d")


def refusal(directory: Path) -> str:
    """Why a server does not take the directory, in one line."""
    embedded = Embedded(directory)
    with pytest.raises(EmbeddedFailed) as failed:
        embedded.start()
    assert "\n" not in str(failed.value)
    return str(failed.value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(place: Path, name: bytes) -> None:
    async def count(url: str) -> int:
        store = Store.from_url(url)
        visits: int = await store.call("INCR", "visits")
        await store.close()
        return visits

    directory = Path(os.fsdecode(os.path.join(os.fsencode(place), name)))  # noqa: PTH118 - bytes
    for visit in (1, 2):
        embedded = Embedded(directory)
        embedded.start()
        assert asyncio.run(count(embedded.url)) == visit
        assert is_running(directory)
        embedded.stop()
    assert {path.name for path in directory.iterdir()} == {"appendonlydir", "lock", "valkey.log"}
    assert [path.name for path in place.iterdir()] == [directory.name]


def test_what_a_server_makes_is_private(place: Path) -> None:
    before = os.umask(0)
    try:
        embedded = Embedded(place / "new")
        embedded.start()
        embedded.stop()
    finally:
        os.umask(before)
    assert embedded.warnings == []
    assert {mode(path) & 0o077 for path in [place / "new", *(place / "new").rglob("*")]} == {0}


def test_an_empty_folder_is_made_private_and_that_is_said(place: Path) -> None:
    place.chmod(0o755)
    (place / "lost+found").mkdir()
    embedded = Embedded(place)
    embedded.start()
    embedded.stop()
    assert mode(place) == 0o700
    assert embedded.warnings == ["The data directory is private now: its mode is 0700, and was 0755."]


def test_a_folder_with_other_files_that_is_open_to_others_is_left_alone(place: Path) -> None:
    (place / "thesis.txt").touch()
    place.chmod(0o755)
    assert "holds other files and is open to others (mode 0755)" in refusal(place)
    assert mode(place) == 0o755
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_directory(place: Path) -> None:
    (place / "file").touch(0o600)
    assert "cannot be used: Not a directory" in refusal(place / "file")


@pytest.mark.parametrize("name", ["lock", "valkey.sock", "valkey.log", "appendonlydir", "dump.rdb"])
def test_no_file_of_ours_may_be_a_link(place: Path, name: str) -> None:
    directory, target = place / "data", place / "target"
    directory.mkdir(mode=0o700)
    target.write_text("theirs")
    (directory / name).symlink_to(target)
    assert "is a symbolic link" in refusal(directory)
    assert target.read_text() == "theirs"


def test_a_link_among_the_files_of_the_store_is_refused(place: Path) -> None:
    (place / "data" / "appendonlydir").mkdir(mode=0o700, parents=True)
    (place / "data").chmod(0o700)
    (place / "data" / "appendonlydir" / "appendonly.aof.manifest").symlink_to(place / "target")
    assert "is a symbolic link" in refusal(place / "data")


def test_a_linked_socket_does_not_end_the_redis_of_another(place: Path) -> None:
    with running("valkey") as other, redis.Redis.from_url(other.url) as client:
        (place / "valkey.sock").symlink_to(other.socket)
        assert "is a symbolic link" in refusal(place)
        with pytest.raises(EmbeddedFailed, match="is a symbolic link"):
            is_running(place)
        assert client.ping()


def test_the_socket_of_another_redis_is_not_taken_for_ours(place: Path) -> None:
    with running("valkey") as other:
        os.link(other.socket, place / "valkey.sock")
        assert "is of a Redis that has its data elsewhere" in refusal(place)
        assert other.pid is not None
        os.kill(other.pid, 0)


def test_the_socket_that_a_killed_server_left_is_passed_over(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place / "valkey.sock"))
    embedded = Embedded(place)
    embedded.start()
    assert is_running(place)
    embedded.stop()


def test_a_volume_that_belongs_to_another_user_is_used_as_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chmod(path: Path, _: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    place.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", chmod)  # as the system does where the caller does not own it; a test may run as root
    embedded = Embedded(place)
    embedded.start()
    embedded.stop()
    assert embedded.warnings == ["The data directory belongs to another user, so its mode stays 0777; the files in it are private."]
    assert {mode(path) & 0o077 for path in place.rglob("*")} == {0}
