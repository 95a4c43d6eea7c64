"""What the endpoints of one server share."""

from dataclasses import dataclass

from starlette.requests import Request

from broker.access import AccessTokens
from broker.broker import Broker
from http_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The broker, who may use it, and how the server runs."""

    broker: Broker
    tokens: AccessTokens
    settings: Settings


def context(request: Request) -> Context:
    """The context of the app that serves the request."""
    found: Context = request.app.state.context
    return found
