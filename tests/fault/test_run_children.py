"""`tidemark run` while its parts are killed: what can be restarted is, any other death ends the run with a name, and nothing stays."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_fixtures import Run, World, start_run, world  # noqa: F401 - `world` is a fixture

RESTARTED = ("market_data", "signal", "endpoint", "dashboard")
FATAL = ("postgres", "redis", "aws", "firehose", "feed_gateway", "execution")


@pytest.fixture
def started(world: World, tmp_path: Path) -> Iterator[Run]:  # noqa: F811
    """A run that is still replaying: two minutes of data, five times as fast."""
    run = start_run(world, tmp_path / "run", "--speed", "5")
    yield run
    if run.process.poll() is None:
        run.process.terminate()
        run.process.wait(60)


@pytest.mark.parametrize("name", FATAL)
def test_a_part_that_holds_state_ends_the_run_with_its_name(started, name):
    """A run that went on without its database would report figures that nobody can check."""
    started.wait_for_trading()
    started.kill(name)
    assert started.end() == 1
    first = next(line for line in started.said.splitlines() if line.startswith("error: "))
    assert first == f"error: the run was stopped: {name} ended: killed by SIGKILL"
    assert "Traceback" not in "".join(line for line in started.said.splitlines() if not line.startswith("error: "))
    assert started.left() == []
    assert not (started.out / "summary.json").exists(), "half a run has no summary"


def test_parts_without_state_are_restarted_and_no_event_is_lost(world, tmp_path):  # noqa: F811
    """Each in turn, killed in the middle of the replay: afterwards every event is stored exactly once."""
    run = start_run(world, tmp_path / "run", "--speed", "8")
    run.wait_for_trading()
    for name in RESTARTED:
        run.wait_for_another(name, run.kill(name))
    assert run.end() == 0, run.said
    for name in RESTARTED:
        assert f"{name} (process" in run.said
    assert run.said.count("killed by SIGKILL, restarted") == len(RESTARTED)
    summary = json.loads((run.out / "summary.json").read_text())
    rows = summary["data"]["rows"]
    assert rows["postgres"] == rows["lake"] == rows["source"]
    assert not [text for text in summary["findings"] if " rows" in text]
    assert run.left() == []


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 1)])
def test_a_signal_stops_the_run_and_everything_that_it_started(world, tmp_path, signum, code):  # noqa: F811
    """Ctrl-C is the usual end of a run that somebody watches. Its port was busy: the next free one is taken and named."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        run = start_run(world, tmp_path / "run", "--speed", "5", "--port", str(port))
        run.wait_for_trading()
        run.child("postgres")  # remembers the family
        run.process.send_signal(signum)
        assert run.end() == code
    assert f"stopped by {signum.name}" in run.said
    assert "Traceback" not in run.said
    taken = run.said.split(f"port {port} is in use, took ")[1].split()[0]
    assert f"live page: http://127.0.0.1:{taken}\n" in run.said
    assert run.left() == []
