"""Logs an outage of Redis once when it begins and once when it ends."""

import logging
import time

logger = logging.getLogger("broker")


class Outage:
    """The servers of a Redis that are lost now, shared by all stores on it."""

    def __init__(self) -> None:
        self._since: dict[object, float] = {}

    def lost(self, server: object, cause: object) -> None:
        """Note that a connection to the server broke or could not be made."""
        if server not in self._since:
            self._since[server] = time.monotonic()
            logger.warning("Redis is lost: %s", cause)

    def back(self, server: object) -> None:
        """Note that a connection to the server was made."""
        since = self._since.pop(server, None)
        if since is not None:
            logger.info("Redis is back after %.1f s", time.monotonic() - since)
