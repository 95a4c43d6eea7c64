"""What the tests of looking into a consumer share."""

from datetime import datetime
from typing import Any

from tests.contract.helpers import TIME, body
from tests.support.api import Api, Json

FILTERS: list[Json] = [{}, {"provider": "crm"}]
STREAMS = ["events", "records"]
WAIT = 10_000


async def consumer(api: Api, **fields: Any) -> None:
    await api.create_consumer(**{"name": "c", "stream_id": "events", "ack_wait_ms": WAIT} | fields)


def ms(text: str) -> int:
    """A time of the API, whose spelling is checked on the way."""
    assert TIME.fullmatch(text)
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def state(api: Api) -> tuple[Json, Json, Json]:
    consumer = await api.get_consumer("c")
    del consumer["info"]["oldest_ack_pending_at"]  # Redis tells how long ago: two looks may differ by a ms
    pending = await api.pending("c")
    for row in pending["data"]:
        del row["delivered_at"], row["expires_at"]
    return consumer, pending, await api.dead_letters("c")


async def all_rows(api: Api, what: str, **query: Any) -> list[Json]:
    """The rows of all pages."""
    rows: list[Json] = []
    after: str | None = None
    while True:
        page = await (api.pending if what == "pending" else api.dead_letters)("c", after=after, **query)
        assert set(page) == {"data", "next"}
        assert len(page["data"]) <= query["limit"]
        rows += page["data"]
        after = page["next"]
        if after is None:
            return rows


def shown(rows: list[Json]) -> list[Any]:
    return [body(row)["data"] for row in rows]
