"""How long a signal takes from its newest input until the execution side can see it, as replays model it.

Drawn from the signal's own id, so that a backtest and a lock-step replay of the stack see the same signal at the same
moment whatever else happens. Live runs do not use this: there, latency is measured.
"""

from hashlib import blake2b

from tidemark.units import NS_PER_MS

# Quantiles of the model: share in 1/1024, milliseconds. A floor of two stream hops and a model call, a median a little
# above it and a long tail. Chosen from the design's budget (two hops with enhanced fan-out take about 140 ms), not measured.
QUANTILES_MS: tuple[tuple[int, int], ...] = ((0, 120), (512, 150), (820, 180), (922, 215), (973, 255), (1014, 330), (1024, 400))
LATENCY_NS_MIN = QUANTILES_MS[0][1] * NS_PER_MS
LATENCY_NS_MAX = QUANTILES_MS[-1][1] * NS_PER_MS
_UNIT = 1 << 32


def seeded_latency_ns(seed: int, signal_id: str) -> int:
    """Latency of one signal in nanoseconds, the same for the same seed and id on every machine (integers only)."""
    digest = blake2b(f"{seed}|{signal_id}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest, "big") * 1_024  # in 1 / (1024 x _UNIT)
    for (low, low_ms), (high, high_ms) in zip(QUANTILES_MS, QUANTILES_MS[1:], strict=False):
        if share < high * _UNIT:
            inside = share - low * _UNIT
            return low_ms * NS_PER_MS + (high_ms - low_ms) * NS_PER_MS * inside // ((high - low) * _UNIT)
    raise AssertionError("the last quantile is the whole")
