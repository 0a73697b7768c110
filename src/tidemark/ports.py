"""What the domain needs from outside, in its own words. Adapters and fakes implement these."""

from typing import Protocol


class Clock(Protocol):
    """Time as an argument: live programs read the host, replays read the events."""

    def now_ns(self) -> int:
        """UTC nanoseconds."""
        ...
