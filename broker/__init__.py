"""A stream broker over Redis: record and event streams, and consumers that workers pull from."""

from broker.broker import Broker, Readiness
from broker.consumers.batches import Batch, Delivery, Nack, Peeked, PendingDelivery, Settled, Settlement
from broker.consumers.dead_letters import DeadLetter, Redriven
from broker.consumers.fields import Consumer, ConsumerChanges, ConsumerInfo, ConsumerSpec
from broker.consumers.filters import Filters
from broker.errors import BrokerError
from broker.store.client import Store
from broker.streams.lifecycle import Stream, StreamChanges, StreamInfo, StreamSpec
from broker.streams.publishing import Published, PublishFailed
from broker.streams.search import Search, StoredMessage

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
