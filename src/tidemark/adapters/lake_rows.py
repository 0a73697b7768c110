"""Events as the JSON rows that Firehose converts to the lake's Parquet; columns as in the published data set."""

from datetime import UTC, datetime

from tidemark.events import LEVELS, EventBlock, Kind
from tidemark.units import NS_PER_DAY, NS_PER_S

_LEVEL_COLUMNS = tuple(f"{side}_{what}_{level:02d}" for side in ("bid", "ask") for what in ("px", "sz") for level in range(LEVELS))
_HEAD = '{"symbol":"%s","date":"%s","ts_event_ns":%d,"ts_recv_ns":%d,"seq":%d'
_DEPTH = _HEAD + "".join(f',"{name}":%d' for name in _LEVEL_COLUMNS) + "}"
_TRADE = _HEAD + ',"px":%d,"sz":%d,"aggressor":%d}'


def lake_rows(block: EventBlock) -> tuple[list[bytes], list[bytes]]:
    """(depth rows, trade rows) of a block, order kept. `date` is the UTC date of the event: the lake's partition."""
    depth: list[bytes] = []
    trades: list[bytes] = []
    columns = (column.tolist() for column in block.columns())
    day, date = -1, ""
    for s, kind, aggressor, seq, ts, recv, px, qty in zip(*columns, strict=True):
        if ts // NS_PER_DAY != day:
            day = ts // NS_PER_DAY
            date = datetime.fromtimestamp(day * NS_PER_DAY // NS_PER_S, UTC).date().isoformat()
        head = (block.symbols[s], date, ts, recv, seq)
        if kind == Kind.DEPTH:
            depth.append((_DEPTH % (*head, *px[:LEVELS], *qty[:LEVELS], *px[LEVELS:], *qty[LEVELS:])).encode())
        else:
            trades.append((_TRADE % (*head, px[0], qty[0], aggressor)).encode())
    return depth, trades
