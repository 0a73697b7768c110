"""Redis: hot books, feature rows, checkpoints and the page bus. Never the truth: losing it costs speed, nothing else."""

from collections.abc import Sequence
from typing import Any

import msgspec
import redis

from tidemark.adapters.settings import CacheSettings
from tidemark.errors import UnavailableError

FEATURE_TTL_S = 10
RING_ROWS = 128
PAGE_CHANNEL = "tm:page"
PAGE_LAST = "tm:page:last"
TIMEOUT_S = 2.0


def connect(settings: CacheSettings) -> "redis.Redis[bytes]":
    """A client with time-outs; TLS and AUTH as the settings say."""
    return redis.Redis(
        host=settings.host,
        port=settings.port,
        ssl=settings.tls,
        password=settings.auth_token,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        health_check_interval=30,
    )


class Cache:
    """What our programs keep in Redis. Every method raises UnavailableError when Redis does not answer."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def checkpoints(self, keys: Sequence[str]) -> list[bytes | None]:
        """Stored state of each key, None where there is none."""
        try:
            found: list[bytes | None] = self._client.mget(keys) if keys else []
        except redis.RedisError as error:
            raise UnavailableError(f"redis: {error}") from error
        return found

    def store(self, values: dict[str, bytes], rows: "Sequence[HotRow]" = ()) -> None:
        """Checkpoints and hot feature rows in one atomic write."""
        pipe = self._client.pipeline(transaction=True)
        for key, value in values.items():
            pipe.set(key, value)
        for row in rows:
            name = f"f:{row.feature_set}:{row.symbol}"
            pipe.hset(name, mapping={"v": row.values, "ts": row.event_ts_ns, "avail": row.avail_ts_ns, "seq": row.seq, "h": row.schema})
            pipe.expire(name, FEATURE_TTL_S)
            ring = f"fw:{row.feature_set}:{row.symbol}"
            pipe.lpush(ring, row.values)
            pipe.ltrim(ring, 0, RING_ROWS - 1)
        self._run(pipe)

    def put_books(self, books: dict[str, bytes]) -> None:
        """Latest book of each symbol as JSON under `book:{symbol}`."""
        if not books:
            return
        pipe = self._client.pipeline(transaction=False)
        for symbol, text in books.items():
            pipe.set(f"book:{symbol}", text)
        self._run(pipe)

    def page(self, messages: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Publish (state key, message) pairs on the page bus and keep each key's last one for a page that loads later."""
        if not messages:
            return
        pipe = self._client.pipeline(transaction=False)
        for key, message in messages:
            text = msgspec.json.encode(message)
            pipe.hset(PAGE_LAST, key, text)
            pipe.publish(PAGE_CHANNEL, text)
        self._run(pipe)

    def _run(self, pipe: Any) -> None:
        try:
            pipe.execute()
        except redis.RedisError as error:
            raise UnavailableError(f"redis: {error}") from error


class HotRow(msgspec.Struct, frozen=True):
    """One feature row for the hot store."""

    feature_set: str
    symbol: str
    schema: str
    seq: int
    event_ts_ns: int
    avail_ts_ns: int
    values: bytes
