"""Data directory of the embedded Redis: private, locked by one process, free of symbolic links (C50)."""

import fcntl
import os
import stat
from pathlib import Path
from typing import IO

# The files of an embedded Redis. The first two identify a store.
_STORE = ("appendonlydir", "lock")
_OURS = (*_STORE, "valkey.sock", "valkey.log", "dump.rdb")
# What an empty file system may contain.
_NOTHING = {"lost+found"}
_OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class EmbeddedFailed(Exception):
    """The embedded Redis cannot run; the message is one line that says why."""


def holds_a_store(directory: Path) -> bool:
    """Whether a server has ever stored data here."""
    return any(os.path.lexists(directory / name) for name in _STORE)


def check_links(directory: Path) -> None:
    """EmbeddedFailed: one of our files is a link. Through it we would write, or end a server, somewhere else."""
    kept = directory / "appendonlydir"
    for path in (*(directory / name for name in _OURS), *(kept.iterdir() if kept.is_dir() and not kept.is_symlink() else ())):
        if path.is_symlink():
            raise EmbeddedFailed(f"{path} is a symbolic link, and files of the data directory may be none")
    socket = directory / "valkey.sock"
    if socket.exists() and not socket.is_socket():
        raise EmbeddedFailed(f"{socket} is there and is not a socket")


def take(directory: Path) -> tuple[IO[str], list[str]]:
    """Create or enter the directory, and lock it while the returned file is open.

    Also returns warnings for the user. EmbeddedFailed, OSError: the directory cannot be used.
    """
    warnings: list[str] = []
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        warnings += _make_private(directory)
    check_links(directory)
    lock = os.fdopen(os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        lock.close()
        raise EmbeddedFailed(f"the data directory {directory} is in use by another broker") from exc
    return lock, warnings


def _make_private(directory: Path) -> list[str]:
    """Make an existing directory private. EmbeddedFailed: other users may need it."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    if not mode & _OF_OTHERS:
        return []
    if not holds_a_store(directory) and {path.name for path in directory.iterdir()} - _NOTHING:
        raise EmbeddedFailed(
            f"the data directory {directory} holds other files and is open to others (mode {mode:04o}): "
            "name one that is empty, new, or yours alone (chmod 700)"
        )
    try:
        directory.chmod(0o700)
    except PermissionError:
        # A mounted volume, as on container platforms. The files in it are private all the same.
        return [f"The data directory belongs to another user, so its mode stays {mode:04o}; the files in it are private."]
    return [f"The data directory is private now: its mode is 0700, and was {mode:04o}."]
