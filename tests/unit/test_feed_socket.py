"""The direct feed: every frame once, in order, and a lost gateway is noticed."""

import threading
from pathlib import Path

import pytest

from tidemark.adapters.feed_socket import FeedReader, FeedServer
from tidemark.errors import UnavailableError
from tidemark.events import empty_block

TIMEOUT_S = 5.0


@pytest.fixture
def address(tmp_path: Path) -> Path:
    """A socket path short enough for the kernel."""
    return tmp_path / "feed"


def served(server: FeedServer, frames: int, *, end: bool) -> threading.Thread:
    """A gateway thread that sends `frames` frames, then the end or nothing, and goes away."""

    def serve() -> None:
        server.wait_for_reader(TIMEOUT_S)
        for i in range(frames):
            server.send(empty_block(("ES",), i), as_of_ns=i, sent_wall_ns=100 + i)
        if end:
            server.send_end(0)
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def send_many(server: FeedServer) -> None:
    """More than any socket buffers."""
    for _ in range(100):
        server.send(empty_block(("ES",), 1_000), 0, 0)


def test_frames_arrive_in_order_and_end(address: Path) -> None:
    """The execution task trades on this feed alone when everything else is gone."""
    thread = served(FeedServer(address), 3, end=True)
    frames = list(FeedReader(address, TIMEOUT_S).frames())
    thread.join()
    assert [(frame.feed_seq, frame.as_of_ns, None if frame.block is None else len(frame.block)) for frame in frames] == [
        (1, 0, 0),
        (2, 1, 1),
        (3, 2, 2),
        (4, 0, None),
    ]
    assert frames[-1].end


def test_a_gateway_that_dies_before_the_end_is_an_error(address: Path) -> None:
    """Silence must not look like the end of the data."""
    thread = served(FeedServer(address), 1, end=False)
    with pytest.raises(UnavailableError, match="before its end"):
        list(FeedReader(address, TIMEOUT_S).frames())
    thread.join()


def test_a_reader_that_leaves_stops_the_gateway(address: Path) -> None:
    """A feed that nobody reads must not run on."""
    server = FeedServer(address)
    reader = FeedReader(address, TIMEOUT_S)
    server.wait_for_reader(TIMEOUT_S)
    reader.close()
    with pytest.raises(UnavailableError, match="reader is gone"):
        send_many(server)


def test_nobody_to_connect_to_is_said(address: Path) -> None:
    """The task exits with a clear line instead of waiting for ever."""
    with pytest.raises(UnavailableError, match="cannot connect"):
        FeedReader(address, TIMEOUT_S)
