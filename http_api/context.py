"""What the endpoints of one server share."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from broker.access import AccessTokens
from broker.broker import Broker
from http_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The broker, who may use it, how the server runs, and the API description."""

    broker: Broker
    tokens: AccessTokens
    settings: Settings
    description: dict[str, Any]


def context(request: Request) -> Context:
    """The context of the app that serves the request."""
    found: Context = request.scope["context"]
    return found
