"""Latency histograms with a bounded error and bounded memory, and the form in which the page shows them."""

from dataclasses import dataclass, field

SUB_BITS = 5  # 32 steps per power of two: a quantile is at most 1/32 above the true value


@dataclass(slots=True)
class Histogram:
    """Counts of non-negative integers (nanoseconds) in logarithmic buckets."""

    counts: dict[int, int] = field(default_factory=dict)
    n: int = 0
    max: int = 0

    def add(self, value: int) -> None:
        """One value; a negative one (clocks of two hosts) counts as 0."""
        value = max(value, 0)
        bucket = _bucket(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.n += 1
        self.max = max(self.max, value)

    def quantile(self, share: float) -> int | None:
        """Upper edge of the bucket that holds the quantile, never above the maximum; None without data."""
        rank = max(1, -(-self.n * int(share * 10_000) // 10_000))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(_upper(bucket), self.max)
        return None

    def figures(self, budget_ns: int | None = None) -> dict[str, int | None]:
        """p50, p99, max, n and budget, in nanoseconds; a figure without data is None."""
        return {
            "p50": self.quantile(0.5),
            "p99": self.quantile(0.99),
            "max": self.max if self.n else None,
            "n": self.n,
            "budget": budget_ns,
        }


def _bucket(value: int) -> int:
    shift = max(0, value.bit_length() - SUB_BITS - 1)
    return (shift << SUB_BITS) + (value >> shift)


def _upper(bucket: int) -> int:
    shift = max(0, (bucket >> SUB_BITS) - 1)
    step = bucket - (shift << SUB_BITS)
    return ((step + 1) << shift) - 1
