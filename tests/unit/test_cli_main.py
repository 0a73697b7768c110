"""The command line's manners: one line for an error, the right exit code, help for everything."""

from pathlib import Path

import pytest

from tidemark.cli.main import COMMANDS, GROUPS, run


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that help does not show does not exist for a newcomer."""
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in {**GROUPS, **COMMANDS})


@pytest.mark.parametrize("name", sorted({**GROUPS, **COMMANDS}))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`tidemark NAME --help` works for each."""
    assert run([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["nonsense"], ["data", "nonsense"], ["report"], ["doctor", "--nonsense"], ["data", "check"]])
def test_bad_usage_is_one_line_and_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown commands and flags, missing arguments."""
    assert run(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")


@pytest.mark.parametrize("argv", [["data", "check"], ["report"]])
def test_a_path_that_is_absent_is_named(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What, where, and exit code 2; no traceback."""
    assert run([*argv, str(tmp_path / "absent")]) == 2
    error = capsys.readouterr().err
    assert "absent" in error
    assert "Traceback" not in error
