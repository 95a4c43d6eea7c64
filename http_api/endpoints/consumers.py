"""Endpoints of consumers (C18)."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from broker.consumers.fields import Consumer, ConsumerChanges, ConsumerSpec
from broker.consumers.lifecycle import parse_metadata_filter
from broker.messages.validation import decode
from http_api.auth import require
from http_api.bodies.codec import answer, page_query, query, read_json, truth, while_there
from http_api.context import context, made
from http_api.monitoring import metrics
from http_api.shapes.answers import ConsumerObject, ConsumerPage, Deleted
from http_api.shapes.requests import PauseRequest, ResetRequest

_SPEC = msgspec.json.Decoder(ConsumerSpec)
_CHANGES = msgspec.json.Decoder(ConsumerChanges)
_RESET = msgspec.json.Decoder(ResetRequest)
_PAUSE = msgspec.json.Decoder(PauseRequest)


def _without_info(consumer: Consumer) -> ConsumerObject:
    fields = msgspec.structs.asdict(consumer)
    del fields["info"]
    return ConsumerObject(**fields)


async def create(request: Request) -> Response:
    """POST /v1/http-consumers."""
    require(request, "admin")
    spec = decode(_SPEC, await read_json(request, context(request).settings.max_body_bytes))
    made(request, "consumer", spec.name)
    consumer, new = await context(request).broker.consumers.create(spec)
    made(request, "consumer", consumer.name, new=new)
    shown = msgspec.structs.replace(_without_info(consumer), warnings=_warnings(consumer))
    return answer(request, shown, 201 if new else 200)


def _warnings(consumer: Consumer) -> list[str]:
    if consumer.max_deliver > 0 or consumer.backoff_ms:
        return []
    return [
        "max_deliver is -1 and backoff_ms is empty: a message that always fails is delivered again at once, without end. "
        "Set max_deliver, such as 5, and backoff_ms, such as [1000, 10000, 60000]."
    ]


async def page(request: Request) -> Response:
    """GET /v1/http-consumers."""
    require(request, "admin", read=True)
    after, limit = page_query(request)
    metadata = query(request, "metadata")
    with_info = truth(request, "info")
    found, cursor = await while_there(request, context(request).broker.consumers.page(
        after, limit, query(request, "stream_id"), parse_metadata_filter(metadata) if metadata else None, exact=with_info
    ))  # fmt: skip
    rows = [ConsumerObject(**msgspec.structs.asdict(consumer)) if with_info else _without_info(consumer) for consumer in found]
    return answer(request, ConsumerPage(rows, cursor))


async def show(request: Request) -> Response:
    """GET /v1/http-consumers/{consumer}."""
    name = request.path_params["consumer"]
    require(request, "consume", name, read=True)
    return answer(request, await while_there(request, context(request).broker.consumers.get(name)))


async def update(request: Request) -> Response:
    """PATCH or PUT /v1/http-consumers/{consumer}."""
    require(request, "manage", request.path_params["consumer"])
    changes = decode(_CHANGES, await read_json(request, context(request).settings.max_body_bytes))
    return answer(request, _without_info(await context(request).broker.consumers.update(request.path_params["consumer"], changes)))


async def delete(request: Request) -> Response:
    """DELETE /v1/http-consumers/{consumer}."""
    require(request, "admin")
    name = request.path_params["consumer"]
    await context(request).broker.consumers.delete(name)
    metrics.consumer_deleted(name)
    return answer(request, Deleted(name))


async def reset(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/reset."""
    require(request, "manage", request.path_params["consumer"])
    asked = decode(_RESET, await read_json(request, context(request).settings.max_body_bytes))
    return answer(request, await context(request).broker.consumers.reset(request.path_params["consumer"], asked.deliver_policy))


async def pause(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/pause."""
    require(request, "manage", request.path_params["consumer"])
    asked = decode(_PAUSE, await read_json(request, context(request).settings.max_body_bytes) or b"{}")
    return answer(request, await context(request).broker.consumers.pause(request.path_params["consumer"], asked.until))


async def resume(request: Request) -> Response:
    """POST /v1/http-consumers/{consumer}/resume."""
    require(request, "manage", request.path_params["consumer"])
    return answer(request, await context(request).broker.consumers.resume(request.path_params["consumer"]))
