"""No directory for temporary files: a container with a read-only root, or a disk that is full (C13)."""

import errno
import tempfile
from pathlib import Path

import msgspec
import pytest

from broker.store.embedded import Embedded
from http_api.bodies.overflow import Overflow
from http_api.server.serve import _shared_directory
from http_api.settings import Settings, WrongSetting
from tests.support.serving import serving

pytestmark = pytest.mark.anyio
NOWHERE = "/no/such/directory"
EVENTS = 30_000


async def test_c13_many_lines_are_stored_and_answered_for(redis_server: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    line = b'{"collection_id":"a:b","data":1}\n'
    async with serving(redis_server.url) as client:
        await client.post("/v1/streams", json={"name": "long", "kind": "events"})
        reply = await client.post("/v1/streams/long/messages", content=line * EVENTS, headers={"Content-Type": "application/x-ndjson"})
        held = (await client.get("/v1/streams/long")).json()["info"]["messages"]
        await client.delete("/v1/streams/long")
    assert (reply.status_code, held) == (200, EVENTS)
    assert (len(reply.json()["data"]), reply.json()["info"]) == (EVENTS, {"created": EVENTS})
    assert int(reply.headers["content-length"]) == len(reply.content)


class Disk:
    """A file of a disk that takes so many bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.text, self.place = room, bytearray(), 0

    def seek(self, place: int) -> None:
        self.place = place

    def write(self, data: bytes) -> int:
        taken = min(len(data), 5, self.room - self.place)
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.text[self.place : self.place + taken] = data[:taken]
        self.place += taken
        return taken

    def read(self, size: int) -> bytes:
        found = bytes(self.text[self.place : self.place + size])
        self.place += len(found)
        return found

    def close(self) -> None:
        pass


@pytest.mark.parametrize("room", [0, 3, 10, 25, 47, 1000])
def test_what_a_full_disk_does_not_take_stays_in_memory(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Disk(room))
    rows, written = Overflow(in_memory=10), b""
    for n in range(40):
        piece = b"%d," % n
        rows.write(piece)
        written += piece
        assert len(rows) == len(written)
    assert b"".join(rows.pieces()) == written
    rows.close()


def test_long_answers_are_on_disk_where_there_is_one() -> None:
    rows = Overflow(in_memory=100)
    for _ in range(1000):
        rows.write(b"0123456789")
    assert len(rows) == 10_000 and sum(map(len, rows._parts)) <= 100
    assert b"".join(rows.pieces()) == b"0123456789" * 1000
    rows.close()


def test_workers_share_what_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", NOWHERE)
    with _shared_directory(Settings(data_dir=tmp_path)) as directory:
        assert Path(directory).parent == (Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path)  # noqa: S108
    assert not Path(directory).exists()


def test_workers_without_a_directory_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(WrongSetting, match=r"--workers 2: .* TMPDIR"), _shared_directory(Settings(workers=2)):
        pass


async def test_json_answers_end_with_a_newline_and_others_do_not(redis_server: Embedded) -> None:
    async with serving(redis_server.url) as client:
        for method, path in (("GET", "/v1/streams"), ("GET", "/v1/streams/none"), ("GET", "/openapi.json"), ("GET", "/health/live")):
            reply = await client.request(method, path)
            assert reply.content.endswith(b"}\n") and int(reply.headers["content-length"]) == len(reply.content)
        packed = await client.get("/v1/streams", headers={"Accept": "application/msgpack"})
        assert msgspec.msgpack.decode(packed.content).keys() == {"data", "next"}
        line = {"content": b'{"collection_id":"a:b","data":1}', "headers": {"Content-Type": "application/x-ndjson"}}
        assert (await client.post("/v1/streams/events/messages", **line)).content.endswith(b"}\n")  # type: ignore[arg-type]
