"""A simulated Level-2 market with a known answer: `null` has no edge, `planted` has one that its manifest describes."""

from tidemark.market.config import MarketConfig
from tidemark.market.oracle import OracleRows, class_probabilities, future_moves, oracle_signal
from tidemark.market.rule import describe_rule
from tidemark.market.simulator import SimulatedMarket, iter_sessions, planted_of, simulate

__all__ = [
    "MarketConfig",
    "OracleRows",
    "SimulatedMarket",
    "class_probabilities",
    "describe_rule",
    "future_moves",
    "iter_sessions",
    "oracle_signal",
    "planted_of",
    "simulate",
]
