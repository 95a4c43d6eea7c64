"""Which media type an answer has, by the Accept headers of a request (C1)."""

from starlette.requests import Request

from http_api.bodies.remembering import remembered

JSON = "application/json"
# The name that is registered, and the one that was in use before.
MSGPACK_NAMES = ("application/msgpack", "application/x-msgpack")

_READ = 2048  # bytes of it; what comes after them counts for nothing


def accepted(request: Request) -> str:
    """JSON, or one of the names of MessagePack where the client would rather have that."""
    found = b""
    for key, value in request.scope["headers"]:
        if key == b"accept":
            found = found + b"," + value if found else value
    if not found or found == b"*/*":
        return JSON
    return _choose(found[:_READ])


@remembered
def _choose(accept: bytes) -> str:
    """Of the types that we have, the one of the highest quality; of several, one that is named, and of these the first.

    JSON where nothing is accepted that we have.
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
    """Media range -> its quality, and its place. One whose quality cannot be read is passed over."""
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
