"""From one bus to many browsers: every browser has its own outbox, and a slow one falls behind alone.

An outbox keeps the newest message of each kind (an older book is of no use to anyone) and a bounded log of those that all count. The
sender waits for the first message and then for a short pause, so a burst becomes one write. Nothing here polls.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping

import msgspec

from tidemark.dashboard.state import LOG_MAX, LOGGED, Message, PageState

CLIENTS_MAX = 32
FLUSH_S = 0.05  # at most twenty writes a second to a browser, which draws fewer
BEAT_S = 10.0  # a comment line, so that a browser and we both notice a dead connection


class Outbox:
    """What one browser has not been sent yet."""

    def __init__(self) -> None:
        self._latest: dict[str, Message] = {}
        self._log: deque[Message] = deque(maxlen=LOG_MAX)
        self._ready = asyncio.Event()
        self.closed = False

    def put(self, key: str, message: Message) -> None:
        if message["type"] in LOGGED:
            self._log.append(message)
        else:
            self._latest[key] = message
        self._ready.set()

    def close(self) -> None:
        self.closed = True
        self._ready.set()

    async def take(self) -> list[Message]:
        """The next batch; empty after `BEAT_S` without a message, or when closed."""
        try:
            async with asyncio.timeout(BEAT_S):
                await self._ready.wait()
        except TimeoutError:
            return []
        if not self.closed:
            await asyncio.sleep(FLUSH_S)
        self._ready.clear()
        batch = [*self._latest.values(), *self._log]
        self._latest.clear()
        self._log.clear()
        return batch


class Hub:
    """The page's state and the outboxes of the browsers that show it. A `PageSink` for the bus."""

    def __init__(self) -> None:
        self.state = PageState()
        self._outboxes: set[Outbox] = set()

    def on_snapshot(self, kept: Mapping[str, bytes]) -> None:
        self.state.connected, self.state.bus_error = True, ""
        for raw in kept.values():
            self.state.apply(raw)
        self._send("state", self.state.snapshot())

    def on_message(self, raw: bytes) -> None:
        if (taken := self.state.apply(raw)) is not None:
            self._send(*taken)

    def on_lost(self, reason: str) -> None:
        self.state.connected, self.state.bus_error = False, reason
        self._send("bus", self.state.bus_status())

    def close(self) -> None:
        """End every browser's stream, so that the server can stop."""
        for outbox in self._outboxes:
            outbox.close()

    @property
    def is_full(self) -> bool:
        return len(self._outboxes) >= CLIENTS_MAX

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events of one browser: the whole state, then what changes."""
        outbox = Outbox()
        self._outboxes.add(outbox)
        try:
            yield _event([self.state.snapshot()])
            while not outbox.closed:
                batch = await outbox.take()
                yield _event(batch) if batch else b": beat\n\n"
        finally:
            self._outboxes.discard(outbox)

    def _send(self, key: str, message: Message) -> None:
        for outbox in self._outboxes:
            outbox.put(key, message)


def _event(batch: list[Message]) -> bytes:
    """One server-sent event: a JSON list of messages on a single line, as the format wants it."""
    return b"data: " + msgspec.json.encode(batch) + b"\n\n"
