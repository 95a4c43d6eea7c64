"""Endpoints of dead letters: list, redrive, purge (C37)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.consumers.dead_letters import DeadLetter
from broker.errors import InvalidRequest, ValidationFailed
from broker.messages.validation import decode
from http_api.auth import require
from http_api.bodies.codec import answer, page_query, query, read_json, truth, while_there
from http_api.context import context
from http_api.endpoints.streams import page_json
from http_api.shapes.answers import Purged
from http_api.shapes.requests import RedriveRequest

_REDRIVE = msgspec.json.Decoder(RedriveRequest)


def _row(letter: DeadLetter) -> bytes:
    fields = msgspec.structs.asdict(letter)
    label, message = fields.pop("label"), fields.pop("json")
    return b'%b,"%b":%b}' % (msgspec.json.encode(fields)[:-1], label.encode(), message)


async def page(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/dead-letters."""
    name = request.path_params["consumer"]
    require(request, "consume", name, read=True)
    async with context(request).pages:
        found, cursor = await while_there(request, context(request).broker.dead_letters.page(
            name, *page_query(request), query(request, "collection_id"), query(request, "reason")
        ))  # fmt: skip
    return answer(request, page_json([_row(letter) for letter in found], cursor))


async def summary(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}/dead-letters/summary."""
    name = request.path_params["consumer"]
    require(request, "consume", name, read=True)
    return answer(request, await while_there(request, context(request).broker.dead_letters.summary(name)))


async def redrive(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/dead-letters/redrive."""
    require(request, "manage", request.path_params["consumer"])
    name = request.path_params["consumer"]
    asked = decode(_REDRIVE, await read_json(request, context(request).settings.max_body_bytes) or b"{}")
    letters = context(request).broker.dead_letters
    request.scope["unchanged"] = asked.dry_run is True
    if asked.ids is None:
        done = await while_there(request, letters.redrive_matching(
            name, asked.collection_id, asked.reason, asked.limit, dry_run=asked.dry_run is True
        ))  # fmt: skip
    elif asked.collection_id or asked.reason or asked.limit:
        raise ValidationFailed({"ids": ["goes with dry_run only: name ids, or say what must match"]})
    else:
        done = await letters.redrive(name, asked.ids, dry_run=asked.dry_run is True)
    return answer(request, done)


async def purge(request: Request) -> Response:
    """DELETE /v1/http-consumers/{consumer}/dead-letters."""
    require(request, "admin")
    ids = ",".join(request.query_params.getlist("ids")) or None
    if (ids is None) != truth(request, "all"):
        raise InvalidRequest("Name what to purge: ids=ID,ID,... or all=true.")
    chosen = ids.split(",") if ids is not None else None
    return answer(request, Purged(await context(request).broker.dead_letters.purge(request.path_params["consumer"], chosen)))
