"""Every setting of an engine run. Together with the data, the signals and the seed it fixes each decision."""

import hashlib
from enum import StrEnum

import msgspec

from tidemark.errors import bad_input
from tidemark.risk.limits import RiskLimits
from tidemark.risk.sizing import SizingRules
from tidemark.units import NS_PER_MIN, NS_PER_MS, NS_PER_S


class EntryStyle(StrEnum):
    """IOC: take the displayed size up to the collar, at once. PASSIVE: join the queue at our side, post-only, for a while."""

    IOC = "ioc"
    PASSIVE = "passive"


class TargetStyle(StrEnum):
    """LIMIT: rests at the venue. MARKET: taken when the exit side's quote reaches it."""

    LIMIT = "limit"
    MARKET = "market"


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strategy for benchmarks: one order every so many events, in and out by turns."""

    events: int
    stop_ticks: int = 20
    target_ticks: int = 20
    horizon_ns: int = NS_PER_MIN

    def __post_init__(self) -> None:
        if min(self.events, self.stop_ticks, self.target_ticks, self.horizon_ns) <= 0:
            raise bad_input("config", "pace", self.events, "positive numbers")


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one account's engine. Latencies: chosen, of the order of a retail gateway to the exchange."""

    account: str = "paper"
    strategy: str = "signals"
    stage: str = "backtest"
    cash_micros: int = 100_000 * 1_000_000
    limits: RiskLimits = msgspec.field(default_factory=RiskLimits)
    sizing: SizingRules = msgspec.field(default_factory=SizingRules)
    order_latency_ns: int = 20 * NS_PER_MS  # decision → venue
    report_latency_ns: int = 20 * NS_PER_MS  # venue → us
    ack_timeout_ns: int = NS_PER_S  # no answer by then: UNKNOWN
    intent_age_ns_max: int = 500 * NS_PER_MS  # an intent not on the wire by then is abandoned
    entry: EntryStyle = EntryStyle.IOC
    passive_ttl_ns: int = 5 * NS_PER_S
    target: TargetStyle = TargetStyle.LIMIT
    reverse: bool = True  # after an opposite signal has closed a position, may it open its own?
    collar_ticks: int = 2  # an entry pays at most this beyond the touch
    exit_collar_ticks: int = 20
    mark_every_ns: int = NS_PER_S
    flatten_lead_ns: int = NS_PER_MIN  # positions are closed this long before the session ends
    closeout_ns: int = 5 * NS_PER_MIN  # entries are off this long before the session ends
    pace: Pace | None = None

    def __post_init__(self) -> None:
        for name in ("order_latency_ns", "report_latency_ns", "collar_ticks", "flatten_lead_ns"):
            if getattr(self, name) < 0:
                raise bad_input("config", name, getattr(self, name), "zero or more")
        for name in ("cash_micros", "ack_timeout_ns", "intent_age_ns_max", "passive_ttl_ns", "exit_collar_ticks", "mark_every_ns"):
            if getattr(self, name) <= 0:
                raise bad_input("config", name, getattr(self, name), "a positive integer")
        if self.closeout_ns < self.flatten_lead_ns:
            raise bad_input("config", "closeout_ns", self.closeout_ns, f"at least flatten_lead_ns ({self.flatten_lead_ns})")
        if self.collar_ticks > self.limits.collar_ticks_max:
            bound = f"at most limits.collar_ticks_max ({self.limits.collar_ticks_max})"
            raise bad_input("config", "collar_ticks", self.collar_ticks, bound)
        for name in ("account", "strategy", "stage"):
            if not getattr(self, name) or "|" in getattr(self, name):
                raise bad_input("config", name, getattr(self, name), "text without `|`")

    @property
    def hash(self) -> str:
        """Name of these settings: SHA-256 of their canonical JSON."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def decode_config(data: bytes, *, source: str) -> EngineConfig:
    """Settings from JSON; what is absent keeps its default. Raises InputError that names the field."""
    try:
        return msgspec.json.decode(data, type=EngineConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_input(source, "config", _shown(data), "a JSON object of engine settings", str(error)) from error


def _shown(data: bytes) -> str:
    return data[:60].decode("utf-8", "replace")
