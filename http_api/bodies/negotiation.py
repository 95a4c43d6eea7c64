"""Content negotiation: chooses an answer's media type by the Accept headers (C1)."""

from starlette.requests import Request

from http_api.bodies.bounded_cache import cached

JSON = "application/json"
# The registered name, and the one in use before it.
MSGPACK_NAMES = ("application/msgpack", "application/x-msgpack")

_READ = 2048  # bytes of Accept that count; the rest is ignored


def accepted(request: Request) -> str:
    """JSON, or one of the names of MessagePack if the client prefers it."""
    found = b""
    for key, value in request.scope["headers"]:
        if key == b"accept":
            found = found + b"," + value if found else value
    if not found or found == b"*/*":
        return JSON
    return _choose(found[:_READ])


@cached
def _choose(accept: bytes) -> str:
    """The available type of the highest quality. Among equals: one that is named explicitly, then the first.

    JSON if no available type is accepted.
    """
    ranges = _ranges(accept.decode("latin-1").lower())
    best, best_rank = JSON, (0.0, False, 0)
    for media in (JSON, *MSGPACK_NAMES):
        quality = next((ranges[r][0] for r in (media, "application/*", "*/*") if r in ranges), 0.0)
        rank = (quality, media in ranges, -ranges.get(media, (0.0, 0))[1])
        if quality and rank > best_rank:
            best, best_rank = media, rank
    return best


def _ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Media range -> its quality and position. A range with an invalid quality is skipped."""
    found: dict[str, tuple[float, int]] = {}
    for place, part in enumerate(accept.split(",")):
        media, *parameters = (text.strip() for text in part.split(";"))
        quality = 1.0
        for name, _, value in (text.partition("=") for text in parameters):
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = -1.0
        if 0 <= quality <= 1:
            found.setdefault(media, (quality, place))
    return found
