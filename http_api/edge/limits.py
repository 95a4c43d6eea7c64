"""Limits for clients (C52, C53). Sizes in bytes, times in seconds."""

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server process. Tests use shorter times."""

    head_bytes: int = 64 * KIB  # all headers of a request, or all its trailers
    headers: int = 1000  # each costs more than its bytes
    address_bytes: int = 32 * KIB  # path and query, enough for a thousand ids
    ahead_bytes: int = 64 * KIB  # read of a body or of further requests before the application needs it
    dropped_bytes: int = 64 * MIB  # of a refused body
    held_bytes: int = 32 * MIB  # for slow clients, over all connections
    head_s: float = 10.0  # from its first byte to its last
    body_s: float = 30.0  # from byte to byte
    reader_s: float = 60.0  # within which a client must read some part of its answer
    dropping_s: float = 5.0  # for the rest of a refused body
    idle_s: float = 75.0  # between requests


DEFAULT = Limits()
