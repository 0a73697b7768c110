"""The sample events are what their program writes: an edit by hand, or a codec that changed, shows here."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "events"
BYTES_MAX = 1_000_000


def program() -> ModuleType:
    """events/make_events.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("make_events", FOLDER / "make_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLES = program().samples()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_file_is_what_the_program_makes(name):
    """Run `python events/make_events.py` after a change of the codec or the feature set."""
    assert json.loads((FOLDER / name).read_text()) == SAMPLES[name]


def test_there_is_no_file_that_the_program_does_not_make():
    """A sample that nobody makes is one that nobody renews."""
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.json")} == set(SAMPLES)


def test_the_folder_is_small():
    """Samples are read by people and travel with every clone."""
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.json")) < BYTES_MAX


def test_records_of_a_batch_are_in_shard_order():
    """Handlers resume at a sequence number, so two records must not share one."""
    for event in SAMPLES.values():
        numbers = [int(record["kinesis"]["sequenceNumber"]) for record in event["Records"]]
        assert numbers == sorted(set(numbers))
