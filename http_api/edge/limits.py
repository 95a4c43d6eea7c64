"""How large and how slow a client may be (C52, C53). Sizes in bytes, times in seconds."""

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server process; tests make the times shorter."""

    head_bytes: int = 64 * KIB  # all headers of a request, or all its trailers
    headers: int = 1000  # each costs more than its bytes
    address_bytes: int = 32 * KIB  # path and query: a thousand ids have room
    ahead_bytes: int = 64 * KIB  # what is read of a body, or of further requests, before it is asked for
    dropped_bytes: int = 64 * MIB  # of a refused body
    held_bytes: int = 32 * MIB  # for slow clients, over all connections
    head_s: float = 10.0  # from its first byte to its last
    body_s: float = 30.0  # from byte to byte
    reader_s: float = 60.0  # in which a client that reads its answer must take something
    dropping_s: float = 5.0  # a refused body
    idle_s: float = 75.0  # between requests


DEFAULT = Limits()
