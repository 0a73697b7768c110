"""Synthesis as others use it: by path, from the command line, offline, and only when something has changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.synthesized import PROJECT, STAGES, Synthesized, assembly

BARE = {"PATH": "/nonexistent", "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def run(*arguments: str, script: str = "app.py") -> "subprocess.CompletedProcess[str]":
    """A script of cdk/ with no node, no npm and no home to be found."""
    command = [sys.executable, str(PROJECT / "cdk" / script), *arguments]
    return subprocess.run(command, env=BARE, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def from_command_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The development stage through the command line."""
    out = tmp_path_factory.mktemp("cli")
    done = run("--stage", "dev", "--assets", "placeholder", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "dev")
    return out / "dev"


def test_the_command_line_needs_no_node_of_the_system(from_command_line: Path) -> None:
    """A laptop has Python and this repository."""
    assert (from_command_line / "manifest.json").is_file()


def test_synthesis_is_repeatable(from_command_line: Path, stages: dict[str, Synthesized]) -> None:
    """In this process and in another, the same templates: a difference in a review is a difference in the code."""
    for name, template in stages["dev"].templates.items():
        assert json.loads((from_command_line / f"{name}.template.json").read_text(encoding="utf-8")) == template


def test_every_stage_has_the_same_stacks(stages: dict[str, Synthesized]) -> None:
    """What holds state and what may be thrown away are different stacks, everywhere."""
    parts = ["foundation", "network", "data", "models", "processing", "execution", "observability"]
    assert list(stages) == list(STAGES)
    for name, stage in stages.items():
        assert list(stage.templates) == [f"tidemark-{name}-{part}" for part in parts]


def test_no_template_names_an_account(stage: Synthesized) -> None:
    """The account is the one that deploys; the one number is that of AWS's own containers."""
    import re

    text = json.dumps(stage.templates)
    assert set(re.findall(r'(?<=[:"/])\d{12}(?=[:."/])', text)) == {"763104351884"}


def test_the_laptop_stage_can_read_every_assembly(stage: Synthesized) -> None:
    """What a laptop runs takes names and wiring from these templates."""
    from tidemark.local.resources import read_deliveries, read_functions, read_mappings, read_tasks, stage_of
    from tidemark.local.template import read_assembly

    found = read_assembly(stage.folder)
    name = stage_of(found)
    assert name == stage.config.name
    assert set(read_functions(found, name)) == {"market_data", "signal"}
    assert {mapping.function: mapping.stream for mapping in read_mappings(found, name, {})} == {
        "market_data": f"tidemark-{name}-market-data",
        "signal": f"tidemark-{name}-features",
    }
    assert set(read_tasks(found)) == {"execution", "feed_gateway"}
    assert {delivery.table for delivery in read_deliveries(found).values()} == {"depth", "trades"}


def test_bad_usage_is_told_and_exits_with_two() -> None:
    """One line says what was expected."""
    done = run("--stage", "live")
    assert done.returncode == 2
    assert "invalid choice: 'live'" in done.stderr
    done = run(script="assembly.py")
    assert done.returncode == 2
    assert "expected one or more of dev, staging, prod" in done.stderr


def test_an_assembly_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of the laptop stage must not cost a synthesis; this one may not even start a process."""
    there = tmp_path / f"dev-{assembly.assembly_hash()}"
    there.mkdir()
    (there / "manifest.json").write_text("{}", encoding="utf-8")

    def no_process(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", no_process)
    assert assembly.ensure_assembly("dev", tmp_path) == there


def test_a_failed_synthesis_leaves_nothing_behind(tmp_path: Path) -> None:
    """And says why, in its own words."""
    with pytest.raises(RuntimeError, match="invalid choice: 'nowhere'"):
        assembly.ensure_assembly("nowhere", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("cdk/stages.py", True),
        ("cdk/constructs/lake.py", True),
        ("cdk/cdk.json", True),
        ("src/tidemark/instruments.py", True),
        ("src/tidemark/budgets.py", True),
        ("src/tidemark/engine/core.py", False),
        ("lambdas/market_data/handler.py", False),
        ("cdk/node_modules/aws-cdk/package.json", False),
    ],
)
def test_only_what_reaches_a_template_makes_a_new_assembly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, counts: bool
) -> None:
    """Editing domain code must not cost ten seconds; editing a stage must never be missed."""
    for name in (
        "cdk/stages.py",
        "cdk/constructs/lake.py",
        "cdk/cdk.json",
        *(f"src/tidemark/{name}" for name in assembly.VOCABULARY),
        path,
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n", encoding="utf-8")
    monkeypatch.setattr(assembly, "PROJECT", tmp_path)
    monkeypatch.setattr(assembly, "HERE", tmp_path / "cdk")
    before = assembly.assembly_hash()
    (tmp_path / path).write_text("2\n", encoding="utf-8")
    assert (assembly.assembly_hash() != before) is counts


def test_the_hash_covers_all_vocabulary_that_cdk_imports() -> None:
    """A module that a template depends on and the hash does not would leave an old template in use."""
    from cdk.closure import module_closure

    sources = [path for path in (PROJECT / "cdk").rglob("*.py") if "node_modules" not in path.parts]
    used = {name for name in module_closure(sources, PROJECT / "src") if name != "tidemark"}
    assert {f"{name.removeprefix('tidemark.')}.py" for name in used} <= set(assembly.VOCABULARY)


def test_cdk_imports_only_the_vocabulary() -> None:
    """Names, limits, instruments: whatever else a template knew of the domain would redeploy it at every change."""
    assert set(assembly.VOCABULARY) == {"budgets.py", "errors.py", "events.py", "instruments.py", "units.py"}


def test_no_stage_is_asked_for_by_name_below_its_configuration() -> None:
    """A difference between stages is a field with a name."""
    for path in (PROJECT / "cdk").rglob("*.py"):
        if path.name != "stages.py" and "node_modules" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not any(f'"{stage}"' in text for stage in STAGES), path


def test_both_ways_to_synthesize_use_the_same_flags() -> None:
    """cdk.json is the one place; no lookups, no telemetry, strong references between stacks."""
    config = json.loads((PROJECT / "cdk" / "cdk.json").read_text(encoding="utf-8"))
    assert config["versionReporting"] is False
    assert config["context"]["@aws-cdk/core:defaultCrossStackReferences"] == "strong"
    assert json.loads((PROJECT / "cdk" / "package.json").read_text(encoding="utf-8"))["devDependencies"] == {"aws-cdk": "2.1148.1"}
    assert "JSII_NODE" in os.environ
