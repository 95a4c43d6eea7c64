"""A stream broker over Redis: record and event streams, and consumers that workers pull from."""

from broker.batches import Batch, Delivery, Nack, Peeked, PendingDelivery, Settled, Settlement
from broker.broker import Broker, Readiness
from broker.consumer_fields import Consumer, ConsumerChanges, ConsumerInfo, ConsumerSpec
from broker.dead_letters import DeadLetter, Redriven
from broker.errors import BrokerError
from broker.filters import Filters
from broker.publishing import Published, PublishFailed
from broker.search import Search, StoredMessage
from broker.store import Store
from broker.streams import Stream, StreamChanges, StreamInfo, StreamSpec

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Broker",
    "BrokerError",
    "Consumer",
    "ConsumerChanges",
    "ConsumerInfo",
    "ConsumerSpec",
    "DeadLetter",
    "Delivery",
    "Filters",
    "Nack",
    "Peeked",
    "PendingDelivery",
    "PublishFailed",
    "Published",
    "Readiness",
    "Redriven",
    "Search",
    "Settled",
    "Settlement",
    "Store",
    "StoredMessage",
    "Stream",
    "StreamChanges",
    "StreamInfo",
    "StreamSpec",
]
