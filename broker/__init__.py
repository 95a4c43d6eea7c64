"""A stream broker over Redis: record and event streams, and consumers that workers pull from."""

from broker.broker import Broker
from broker.consumers import Consumer, ConsumerChanges, ConsumerInfo, ConsumerSpec
from broker.delivery import Batch, DeadLetter, Delivery, Nack, Peeked, PendingDelivery, Settled
from broker.errors import BrokerError
from broker.filters import Filters
from broker.publishing import Published, PublishFailed
from broker.store import Store
from broker.streams import StoredMessage, Stream, StreamChanges, StreamInfo, StreamSpec

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
    "Settled",
    "Store",
    "StoredMessage",
    "Stream",
    "StreamChanges",
    "StreamInfo",
    "StreamSpec",
]
