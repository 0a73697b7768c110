"""The execution task's ear on the signals stream: a reader thread, and the watermark that a lock-step replay waits on."""

import threading
from collections.abc import Iterable, Sequence

from tidemark.adapters.kinesis import StreamReader
from tidemark.errors import DecodeError, TidemarkError, UnavailableError
from tidemark.signals.messages import Signal, decode_signals


class SignalSource:
    """Collects signals in the background. Order of what `take` returns: input time, symbol, id; so a replay is repeatable."""

    def __init__(self, reader: StreamReader, symbols: Sequence[str]) -> None:
        self._reader = reader
        self._watermark_ns = dict.fromkeys(symbols, 0)
        self._signals: list[Signal] = []
        self._unreadable = 0
        self._failure: TidemarkError | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="signals", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """End reading; returns when the thread has ended."""
        self._stop.set()
        self._thread.join(timeout=5)

    @property
    def unreadable(self) -> int:
        """Records on the stream that were no signal batch."""
        return self._unreadable

    def take(self) -> list[Signal]:
        """Signals that have come since the last call. Raises what stopped the reader, if something did."""
        with self._changed:
            return self._take()

    def take_up_to(self, as_of_ns: int, timeout_s: float) -> list[Signal]:
        """Wait until the signal path has answered for every input up to `as_of_ns`, then take what it said.

        Raises UnavailableError when the path is silent for `timeout_s`, naming the symbol that is behind.
        """
        with self._changed:
            reached = self._changed.wait_for(lambda: self._failure is not None or self._behind(as_of_ns) is None, timeout_s)
            if not reached:
                raise UnavailableError(f"signal path: no answer for {self._behind(as_of_ns)} within {timeout_s:.0f} s")
            return self._take()

    def _behind(self, as_of_ns: int) -> str | None:
        return next((symbol for symbol, mark in self._watermark_ns.items() if mark < as_of_ns), None)

    def _take(self) -> list[Signal]:
        if self._failure is not None:
            raise self._failure
        taken = sorted(self._signals, key=lambda signal: (signal.input_ts_ns, signal.symbol, signal.signal_id))
        self._signals = []
        return taken

    def _read(self) -> None:
        try:
            for batch in self._reader.records():
                if self._stop.is_set():
                    return
                self._note(batch)
        except TidemarkError as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _note(self, records: Iterable[bytes]) -> None:
        with self._changed:
            for data in records:
                try:
                    batch = decode_signals(data)
                except DecodeError:
                    self._unreadable += 1
                    continue
                if batch.symbol in self._watermark_ns:
                    self._signals.extend(batch.signals)
                    self._watermark_ns[batch.symbol] = max(self._watermark_ns[batch.symbol], batch.as_of_ns)
            self._changed.notify_all()
