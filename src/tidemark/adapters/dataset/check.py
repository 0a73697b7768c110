"""Is a data set fit for use? Every file's hash, every event's defect, and a score against the target of 99.5 %."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tidemark.adapters.dataset.layout import KINDS, ContentHash, file_sha256
from tidemark.adapters.dataset.store import Dataset
from tidemark.book.quality import MALFORMED, UNUSABLE, Defect, count_defects, fresh_state, scan_block
from tidemark.budgets import QUALITY_PPM_TARGET
from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.units import NO_PRICE, NS_PER_DAY, PPM_PER_ONE


@dataclass(slots=True)
class SymbolQuality:
    """What the events of one symbol are like. An event has one defect at most, the gravest."""

    depth: int = 0
    trades: int = 0
    defects: Counter[Defect] = field(default_factory=Counter)
    missing_seq: int = 0  # numbers that no event has
    repeated_books: int = 0  # depth rows equal to the one before; legal, but worth knowing
    recv_before_event: int = 0  # the receiver's clock was behind the venue's
    full_books: int = 0  # depth rows with all ten levels on both sides
    levels_filled: int = 0
    longest_silence_ns: int = 0  # between two events of one UTC date: nights and weekends do not count
    first_ts_ns: int | None = None
    last_ts_ns: int | None = None

    @property
    def events(self) -> int:
        return self.depth + self.trades

    @property
    def unusable(self) -> int:
        """Events that run time would refuse or keep out of features."""
        return sum(count for defect, count in self.defects.items() if defect in MALFORMED or defect in UNUSABLE)

    @property
    def quality_ppm(self) -> int:
        return PPM_PER_ONE * (self.events - self.unusable) // self.events if self.events else PPM_PER_ONE

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form; shares are in parts per million and null without data."""
        cells = 2 * LEVELS * self.depth
        return {
            "events": self.events,
            "depth": self.depth,
            "trades": self.trades,
            "defects": {defect.name.lower(): count for defect, count in sorted(self.defects.items())},
            "quality_ppm": self.quality_ppm,
            "missing_seq": self.missing_seq,
            "repeated_books": self.repeated_books,
            "recv_before_event": self.recv_before_event,
            "full_books_ppm": PPM_PER_ONE * self.full_books // self.depth if self.depth else None,
            "levels_filled_ppm": PPM_PER_ONE * self.levels_filled // cells if cells else None,
            "longest_silence_ns": self.longest_silence_ns,
            "span_ns": [self.first_ts_ns, self.last_ts_ns],
        }


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The check's result. `altered` lists files, or a symbol's rows, that are not what the manifest says."""

    data_hash: str
    symbols: dict[str, SymbolQuality]
    altered: tuple[str, ...]

    @property
    def events(self) -> int:
        return sum(symbol.events for symbol in self.symbols.values())

    @property
    def quality_ppm(self) -> int:
        """Usable share of all events."""
        unusable = sum(symbol.unusable for symbol in self.symbols.values())
        return PPM_PER_ONE * (self.events - unusable) // self.events if self.events else PPM_PER_ONE

    @property
    def passed(self) -> bool:
        """Every symbol reaches the target, and nothing was altered."""
        return not self.altered and all(symbol.quality_ppm >= QUALITY_PPM_TARGET for symbol in self.symbols.values())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "data_hash": self.data_hash,
            "events": self.events,
            "quality_ppm": self.quality_ppm,
            "target_ppm": QUALITY_PPM_TARGET,
            "verdict": "pass" if self.passed else "fail",
            "altered": list(self.altered),
            "symbols": {name: symbol.to_json() for name, symbol in self.symbols.items()},
        }


def check_dataset(path: str | Path) -> QualityReport:
    """Read and judge the whole data set with bounded memory. Raises InputError when it cannot be read."""
    dataset = Dataset.open(path)
    altered = [name for name, entry in dataset.manifest.files.items() if file_sha256(dataset.root / name) != entry.sha256]
    symbols: dict[str, SymbolQuality] = {}
    for symbol in dataset.symbols:
        symbols[symbol], digests = _scan(dataset, symbol)
        if digests != dataset.manifest.content.get(symbol):
            altered.append(f"rows of {symbol}")
    return QualityReport(dataset.data_hash, symbols, tuple(altered))


def _scan(dataset: Dataset, symbol: str) -> tuple[SymbolQuality, dict[str, str]]:
    quality = SymbolQuality()
    state = fresh_state(1, joined_midway=True)
    hashes = {kind: ContentHash() for kind in KINDS}
    before: EventBlock | None = None
    for block in dataset.symbol_blocks(symbol):
        quality.defects.update(count_defects(scan_block(block, *state)))
        _add_times(quality, block, before)
        for name, kind in KINDS.items():
            hashes[name].update(block[block.kind == kind])
        depth = block[block.kind == Kind.DEPTH]
        _add_levels(quality, depth)
        quality.trades += len(block) - len(depth)
        before = block
    quality.repeated_books = _repeated_books(dataset, symbol)
    return quality, {kind: hashes[kind].hexdigest() for kind in KINDS if dataset.manifest.rows[symbol][kind]}


def _add_times(quality: SymbolQuality, block: EventBlock, before: EventBlock | None) -> None:
    seq, times = block.seq, block.event_ts_ns
    if before is not None:
        seq, times = np.concatenate([before.seq[-1:], seq]), np.concatenate([before.event_ts_ns[-1:], times])
    steps, gaps = np.diff(seq), np.diff(times)[np.diff(times // NS_PER_DAY) == 0]
    quality.missing_seq += int((steps[steps > 1] - 1).sum())
    quality.longest_silence_ns = max(quality.longest_silence_ns, int(gaps.max(initial=0)))
    quality.recv_before_event += int((block.recv_ts_ns < block.event_ts_ns).sum())
    quality.first_ts_ns = int(times[0]) if quality.first_ts_ns is None else quality.first_ts_ns
    quality.last_ts_ns = int(times[-1])


def _add_levels(quality: SymbolQuality, depth: EventBlock) -> None:
    filled = depth.px_ticks != NO_PRICE
    quality.depth += len(depth)
    quality.levels_filled += int(filled.sum())
    quality.full_books += int(filled.all(axis=1).sum())


def _repeated_books(dataset: Dataset, symbol: str) -> int:
    count = 0
    last: EventBlock | None = None
    for block in dataset.kind_blocks(symbol, "depth"):
        for earlier, later in ((last, block[:1]), (block[:-1], block[1:])):
            if earlier is not None and len(later):
                same = (earlier.px_ticks == later.px_ticks).all(axis=1) & (earlier.qty == later.qty).all(axis=1)
                count += int(same.sum())
        last = block[-1:]
    return count
