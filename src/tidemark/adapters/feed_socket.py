"""The direct sequenced feed from the gateway to the execution task: a unix socket with length-prefixed frames.

Back-pressure is the socket's own: a reader that stops reading stops the gateway; nothing is dropped.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tidemark.errors import DecodeError, UnavailableError
from tidemark.events import EventBlock, decode_block, encode_block

_FRAME = struct.Struct("<IQq")  # payload bytes, feed sequence, wall-clock time of sending
FRAME_BYTES_MAX = 64 * 1024 * 1024
SOCKET_PATH_CHARS_MAX = 100  # the kernel's limit is 107


@dataclass(frozen=True, slots=True)
class Frame:
    """Events of all symbols in feed order; every event up to `as_of_ns` has now been sent. The last frame has `end`."""

    feed_seq: int
    sent_wall_ns: int
    block: EventBlock | None
    as_of_ns: int

    @property
    def end(self) -> bool:
        return self.block is None


class FeedServer:
    """The gateway's end. One reader at a time; it waits for the reader before it sends."""

    def __init__(self, path: Path) -> None:
        assert len(str(path)) <= SOCKET_PATH_CHARS_MAX, f"socket path too long: {path}"
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen(1)
        self._peer: socket.socket | None = None
        self._feed_seq = 0

    def wait_for_reader(self, timeout_s: float) -> None:
        """Raises UnavailableError when nobody connects in time."""
        self._listener.settimeout(timeout_s)
        try:
            self._peer, _ = self._listener.accept()
        except TimeoutError as error:
            raise UnavailableError(f"direct feed: no reader within {timeout_s:.0f} s") from error
        self._peer.setblocking(True)

    def send(self, block: EventBlock, as_of_ns: int, sent_wall_ns: int) -> None:
        """Send one frame; blocks while the reader is behind."""
        self._send(encode_block(block, as_of_ns), sent_wall_ns)

    def send_end(self, sent_wall_ns: int) -> None:
        """Tell the reader that nothing more will come."""
        self._send(b"", sent_wall_ns)

    def _send(self, payload: bytes, sent_wall_ns: int) -> None:
        assert self._peer is not None, "wait_for_reader comes first"
        self._feed_seq += 1
        try:
            self._peer.sendall(_FRAME.pack(len(payload), self._feed_seq, sent_wall_ns) + payload)
        except OSError as error:
            raise UnavailableError(f"direct feed: the reader is gone ({error})") from error

    def close(self) -> None:
        """Close both ends of ours."""
        for end in (self._peer, self._listener):
            if end is not None:
                end.close()


class FeedReader:
    """The execution task's end. A break in the sequence is a fault of the feed, not something to guess over."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            raise UnavailableError(f"direct feed: cannot connect to the gateway ({error})") from error
        self._socket.settimeout(None)
        self._file = self._socket.makefile("rb", buffering=1 << 20)

    def frames(self) -> Iterator[Frame]:
        """Frames up to and including the end frame. Raises UnavailableError when the gateway goes away before it."""
        expected = 1
        while True:
            length, feed_seq, sent_wall_ns = _FRAME.unpack(self._read(_FRAME.size))
            if feed_seq != expected:
                raise DecodeError("FEED_GAP", f"direct feed: frame {feed_seq} follows {expected - 1}")
            if length > FRAME_BYTES_MAX:
                raise DecodeError("OVERSIZE", f"direct feed: frame of {length} bytes")
            expected += 1
            if length == 0:
                yield Frame(feed_seq, sent_wall_ns, None, 0)
                return
            block, as_of_ns = decode_block(self._read(length))
            yield Frame(feed_seq, sent_wall_ns, block, as_of_ns)

    def _read(self, count: int) -> bytes:
        data: bytes | None = self._file.read(count)
        if data is None or len(data) != count:
            raise UnavailableError("direct feed: the gateway closed the feed before its end")
        return data

    def close(self) -> None:
        """Close our end."""
        self._file.close()
        self._socket.close()
