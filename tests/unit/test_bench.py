"""`tidemark bench`: every bound is in the table, slowness is no error, and what a zip Lambda imports stays light."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tidemark
from tidemark.cli.bench import rows, to_json
from tidemark.cli.main import run
from tidemark.errors import UnavailableError
from tidemark.local.bench import (
    FIGURES,
    HEAVY_MODULES,
    PARTS,
    Figure,
    MemoryPeak,
    Reading,
    TimedNarrator,
    attempt,
    handlers,
    import_handler,
    measure_disk,
    measure_imports,
)

PROJECT = Path(tidemark.__file__).parents[2]
BOUNDS = {
    "scan.ns_per_event": (60, True),
    "step.us_per_event": (2, True),
    "engine.events_per_s": (2_000_000, False),
    "line.depth_per_s": (2_000, False),
    "line.start_s": (15, True),
    "line.memory_gib": (3, True),
    "imports.slowest_s": (0.8, True),
    "imports.heavy": (0, True),
    "package.unzipped_mib": (250, True),
    "disk.venv_gb": (2.5, True),
}
"""The project's promises: (bound, whether it is the most allowed rather than the least)."""


def test_every_promise_has_a_line_with_its_bound() -> None:
    """A promise that is not measured is not kept for long; one that the table loosens is not kept at all."""
    readings = {figure.name: Reading(1.0, "by hand") for figure in FIGURES}
    shown = to_json(readings)
    assert {name: (shown[name]["bound"], shown[name]["at_most"]) for name in BOUNDS} == BOUNDS
    assert {name for name, figure in shown.items() if figure["bound"] is not None} == set(BOUNDS)
    table = dict(zip((figure.name for figure in FIGURES), rows(readings), strict=True))
    assert table["engine.events_per_s"][2] == "≥ 2,000,000"
    assert all(table[name][2] for name in BOUNDS)


@pytest.mark.parametrize(
    ("bound", "at_most", "value", "verdict"),
    [
        (2.0, True, 1.9, "within"),
        (2.0, True, 2.0, "within"),
        (2.0, True, 2.1, "beyond"),
        (2.0, False, 2.1, "within"),
        (2.0, False, 2.0, "within"),
        (2.0, False, 1.9, "beyond"),
        (None, True, 9.9, "information"),
        (2.0, True, None, "not available"),
        (None, True, None, "not available"),
    ],
)
def test_a_verdict_says_on_which_side_of_the_bound_a_value_lies(
    bound: float | None, at_most: bool, value: float | None, verdict: str
) -> None:
    """At the bound is within it, whichever way it points; without a value nothing is claimed."""
    figure = Figure(name="a.b", part="a", what="", unit="", bound=bound, at_most=at_most)
    assert figure.verdict(value) == verdict


def test_what_cannot_be_measured_here_says_why() -> None:
    """A laptop without PostgreSQL still gets the other figures, and one line per figure it does not get."""

    def fail() -> dict[str, Reading]:
        raise UnavailableError("no server\nfor a reason")

    found = attempt("line", fail)
    assert set(found) == {figure.name for figure in FIGURES if figure.part == "line"}
    assert set(found.values()) == {Reading(None, "no server for a reason")}
    assert {row[3] for row in rows(found)} == {"not available"}


def test_json_has_the_machine_and_every_figure_of_the_part(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts compare machines and versions with it; standard output is JSON and nothing else."""
    assert run(["bench", "--only", "disk", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"machine", "quick", "figures"}
    assert {"cpu", "cores", "memory_gib", "python", "numba"} <= set(shown["machine"])
    assert set(shown["figures"]) == {figure.name for figure in FIGURES if figure.part == "disk"}
    for figure in shown["figures"].values():
        assert set(figure) == {"what", "value", "unit", "bound", "at_most", "verdict", "note"}


def test_a_slow_machine_is_not_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures beyond their bound are shown as such; the exit code stays 0, for only a person can say whose fault it is."""
    monkeypatch.setattr("tidemark.local.bench.measure_disk", lambda folder: {"disk.venv_gb": Reading(99.0, "made up")})
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["bench", "--only", "disk"]) == 0
    assert "beyond" in capsys.readouterr().out


def test_an_unknown_part_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names those there are, exit code 2."""
    assert run(["bench", "--only", "nonsense"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert all(part in error for part in PARTS)


@pytest.mark.parametrize("handler", handlers(PROJECT), ids=lambda path: path.parent.name)
def test_a_handler_loads_nothing_that_is_too_large_for_a_zip(handler: Path) -> None:
    """One import at the wrong place costs a cold start of seconds, or does not fit in 250 MB at all."""
    assert import_handler(handler) == []


def test_there_are_handlers_to_look_at() -> None:
    """The test above, over an empty list, would pass without having looked."""
    assert {"market_data", "signal"} <= {path.parent.name for path in handlers(PROJECT)}


def test_a_heavy_import_is_seen_and_named(tmp_path: Path) -> None:
    """The look itself works: a handler that takes pandas along is counted, with the module's name."""
    function = tmp_path / "lambdas" / "greedy"
    function.mkdir(parents=True)
    (function / "pandas.py").touch()  # an empty one: only its name matters here
    (function / "handler.py").write_text("import pandas\n")
    found = measure_imports(tmp_path, quick=True)
    assert found["imports.heavy"].value == 1
    assert "greedy: pandas" in found["imports.heavy"].note
    assert set(HEAVY_MODULES) >= {"torch", "pandas", "pyarrow", "numba", "sklearn"}


def test_a_handler_that_cannot_be_imported_is_told_by_its_last_line(tmp_path: Path) -> None:
    """Not a time for an import that never worked."""
    function = tmp_path / "lambdas" / "broken"
    function.mkdir(parents=True)
    (function / "handler.py").write_text("raise ValueError('of this handler')\n")
    found = attempt("imports", lambda: measure_imports(tmp_path, quick=True))
    assert found["imports.slowest_s"].value is None
    assert "ValueError: of this handler" in found["imports.slowest_s"].note


def test_disk_use_counts_a_file_with_two_names_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As du does; virtual environments are full of hard links."""
    monkeypatch.setattr("sys.base_prefix", "/elsewhere")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"x" * 100_000)
    once = measure_disk(tmp_path)["disk.venv_gb"].value
    (tmp_path / "b").hardlink_to(tmp_path / "sub" / "a")
    assert measure_disk(tmp_path)["disk.venv_gb"].value == once
    (tmp_path / "c").symlink_to(tmp_path / "sub")
    assert once is not None
    assert 100_000 <= once * 1e9 < 200_000


def test_a_run_is_timed_by_what_it_says() -> None:
    """Start-up ends with the live page, the replay with the line that says so; all lines are passed on."""
    said: list[str] = []
    narrator = TimedNarrator(said.append)
    narrator.say("starting")
    assert narrator.live_s is None
    narrator.say("live page: http://127.0.0.1:8080")
    assert narrator.finished_s is None
    narrator.say("replay finished, working off what is still in the streams")
    assert narrator.live_s is not None
    assert narrator.finished_s is not None
    assert narrator.live_s <= narrator.finished_s
    assert len(said) == 3


def test_memory_is_that_of_the_whole_family() -> None:
    """A child's pages count; those are where the line's memory is."""
    with MemoryPeak(sample_s=0.02) as alone:
        pass
    program = "data = bytearray(b'x') * 200_000_000; print(len(data), flush=True); input()"
    with MemoryPeak(sample_s=0.02) as memory:
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        deadline = time.monotonic() + 10
        while memory.peak_bytes < alone.peak_bytes + 150_000_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        child.communicate(b"\n")
    assert memory.peak_bytes >= alone.peak_bytes + 150_000_000
    assert memory.processes_max >= 2
