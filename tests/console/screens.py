"""The screens of the console: where each is, and what stands on it in the world of these tests."""

from tests.console.broker_api import EVIL, EVIL_WORKER

# address, what its first heading says, a text of a user that stands on it
SCREENS = {
    "overview": ("?q=world", "Overview", ""),
    "streams": ("streams?q=world", "Streams", ""),
    "consumers": ("consumers?q=world", "Consumers", ""),
    "messages": ("stream/world", "Stream world", EVIL),
    "live": ("stream/world?live=1", "Stream world", EVIL),
    "stream-consumers": ("stream/world?tab=consumers", "Stream world", ""),
    "scheduled": ("stream/world?tab=scheduled", "Stream world", f"{EVIL}later"),
    "stream-settings": ("stream/world?tab=settings", "Stream world", ""),
    "publish": ("stream/world?tab=publish", "Stream world", ""),
    "message": ("message/world/{first}", "Message {first}", EVIL),
    "out": ("consumer/world-full", "Consumer world-full", EVIL_WORKER),
    "retrying": ("consumer/world-retry?tab=retrying", "Consumer world-retry", EVIL),
    "blocked": ("consumer/world-keys?tab=blocked", "Consumer world-keys", EVIL_WORKER),
    "dead": ("consumer/world-dead?tab=dead", "Consumer world-dead", EVIL),
    "next": ("consumer/world-dead?tab=next", "Consumer world-dead", EVIL),
    "settings": ("consumer/world-dead?tab=settings", "Consumer world-dead", EVIL),
    "new-stream": ("new-stream", "New stream", ""),
    "new-consumer": ("new-consumer?stream=world", "New consumer", EVIL),
    "tokens": ("tokens", "Tokens", ""),
    "audit": ("audit", "Audit", "createConsumer"),
    "nowhere": ("nowhere", "Not found", ""),
}
