"""The page bus, read side: what the dashboard hears. Subscribes first and then reads the kept messages, so nothing falls between.

Event driven: a read blocks until Redis has something. A lost connection is reported, waited out with growing pauses, and followed by a
fresh subscription and a fresh snapshot.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import redis.asyncio as aioredis
from redis.exceptions import RedisError

from tidemark.adapters.cache import PAGE_CHANNEL, PAGE_LAST

LOG = logging.getLogger(__name__)
RETRY_S_MIN, RETRY_S_MAX = 0.1, 2.0
CONNECT_TIMEOUT_S = 2.0


class PageSink(Protocol):
    """Who is told. Called from the event loop, never concurrently."""

    def on_snapshot(self, kept: Mapping[str, bytes]) -> None:
        """Connected: the last message of each kind, by its key."""
        ...

    def on_message(self, raw: bytes) -> None:
        """One published message."""
        ...

    def on_lost(self, reason: str) -> None:
        """Disconnected; a snapshot follows when the bus is back."""
        ...


async def listen(host: str, port: int, sink: PageSink, auth_token: str | None = None) -> None:
    """Feed the sink until cancelled. `auth_token` is Redis' password, where it asks for one."""
    pause_s = RETRY_S_MIN
    while True:
        client: Any = aioredis.Redis(host=host, port=port, password=auth_token, socket_connect_timeout=CONNECT_TIMEOUT_S, protocol=2)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as bus:
                await bus.subscribe(PAGE_CHANNEL)
                sink.on_snapshot({key.decode("utf-8", "replace"): raw for key, raw in (await client.hgetall(PAGE_LAST)).items()})
                pause_s = RETRY_S_MIN
                async for message in bus.listen():
                    sink.on_message(message["data"])
        except (RedisError, OSError) as error:
            LOG.info("page bus %s:%s: %s; again in %.1f s", host, port, error, pause_s)
            sink.on_lost(type(error).__name__)
        finally:
            await client.aclose()
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_S_MAX)
