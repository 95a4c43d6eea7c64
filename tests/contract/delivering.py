"""What the tests of delivery share: a consumer with a short ack wait, and short publishes."""

from typing import Any

from tests.contract.helpers import event
from tests.support.api import Api, Json

FILTERS: list[Json] = [{}, {"provider": "crm"}]
STREAMS = ["events", "records"]
NOTHING: Json = {"data": [], "info": {"num_pending": 0, "num_ack_pending": 0}}
WAIT = 10_000


async def consumer(api: Api, **fields: Any) -> None:
    """Create the consumer `c`, of events and with a short ack wait unless `fields` differ."""
    await api.create_consumer(**{"name": "c", "stream_id": "events", "ack_wait_ms": WAIT} | fields)


async def publish(api: Api, stream: str, *values: int) -> None:
    """Publish one message per value, which is also its id."""
    await api.publish(stream, [event(v, id=str(v)) for v in values])
