"""Section 6: next, ack, nack."""

import pytest

from tests.conftest import Clock
from tests.support.api import Api

pytestmark = pytest.mark.anyio


async def test_c22_an_unsettled_delivery_is_delivered_again_when_its_ack_wait_is_over(api: Api, clock: Clock) -> None:
    await api.create_consumer(name="c", stream_id="events", ack_wait_ms=1000)
    await api.publish("events", [{"collection_id": "a:b", "data": 1}])
    first = await api.next("c", 10)
    await clock.advance(999 - 500)
    assert (await api.next("c", 10))["data"] == []
    await clock.advance(501)
    second = await api.next("c", 10)
    assert [d["deliver_count"] for d in second["data"]] == [2]
    assert second["info"] == {"num_pending": 0, "num_ack_pending": 1}
    assert await api.ack("c", [first["data"][0]["ack_token"]]) == {"acked": 0, "stale": [first["data"][0]["ack_token"]]}
    assert (await api.ack("c", [second["data"][0]["ack_token"]]))["acked"] == 1
