"""Reading the books that the scan keeps: rows of the current block, or the copy that outlives it."""

from collections.abc import Iterator

from tidemark.engine import layout as at
from tidemark.engine.layout import State
from tidemark.events import I32, I64, LEVELS


class Books:
    """One view on both sides of the wire: `at.V_ROW` names the venue's book, `at.L_ROW` ours."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._px: I64 = state.held_px
        self._qty: I32 = state.held_qty

    def use(self, px_ticks: I64, qty: I32) -> None:
        """From here, rows are rows of these columns."""
        self._px, self._qty = px_ticks, qty

    def hold(self) -> None:
        """Copy the newest books out of the block, which may go away now."""
        state = self._state
        for s in range(len(state.sym)):
            row = state.sym[s, at.V_ROW]
            assert row == state.sym[s, at.L_ROW], "between events, the venue and we know the same book"
            if row != at.HELD:
                state.held_px[s], state.held_qty[s] = self._px[row], self._qty[row]
                state.sym[s, [at.V_ROW, at.L_ROW]] = at.HELD

    def rows(self, s: int, view: int) -> tuple[I64, I32]:
        """Prices and sizes (20,) of a symbol's book; `view` is `at.V_ROW` or `at.L_ROW`."""
        row = self._state.sym[s, view]
        if row == at.HELD:
            return self._state.held_px[s], self._state.held_qty[s]
        return self._px[row], self._qty[row]

    def levels(self, s: int, side: int, view: int) -> Iterator[tuple[int, int]]:
        """(price, size) of one side, best first; empty levels are (NO_PRICE, 0). `side` is +1 for bids."""
        px_ticks, qty = self.rows(s, view)
        columns = slice(0, LEVELS) if side > 0 else slice(LEVELS, 2 * LEVELS)
        return zip(px_ticks[columns].tolist(), qty[columns].tolist(), strict=True)
