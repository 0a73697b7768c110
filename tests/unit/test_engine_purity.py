"""The core decides from its arguments alone: no floats, no clock, no chance, no order that a hash decides. Compiled or not, the same."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tidemark

SOURCE = Path(tidemark.__file__).parent
PURE = sorted(
    [*(SOURCE / "engine").glob("*.py"), *(SOURCE / "portfolio").glob("*.py"), SOURCE / "risk" / "limits.py", SOURCE / "risk" / "check.py"]
)
FORBIDDEN_NAMES = {"float", "round", "random", "sleep", "uuid4", "getenv", "environ", "open", "print", "input"}
FORBIDDEN_ATTRIBUTES = {("time", "time"), ("time", "monotonic"), ("datetime", "now"), ("date", "today"), ("os", "environ")}
FORBIDDEN_IMPORTS = {"random", "time", "datetime", "uuid", "os", "secrets", "threading", "asyncio", "socket", "pathlib", "math"}
MAY_SAY_FLOAT = {"signal.py"}  # `p_win` passes through to sizing, untouched


def offences(tree: ast.AST, name: str) -> list[str]:
    """What a file does that the core may not, as `line: what`."""
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Constant(value=float()):
                found.append(f"{line}: a float")
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                found.append(f"{line}: a division")
            case ast.Name(id=used) if used in FORBIDDEN_NAMES and not (used == "float" and name in MAY_SAY_FLOAT):
                found.append(f"{line}: {used}")
            case ast.Attribute(value=ast.Name(id=owner), attr=used) if (owner, used) in FORBIDDEN_ATTRIBUTES:
                found.append(f"{line}: {owner}.{used}")
            case ast.Import(names=names):
                found += [f"{line}: import {alias.name}" for alias in names if alias.name.split(".")[0] in FORBIDDEN_IMPORTS]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN_IMPORTS:
                found.append(f"{line}: from {module}")
            case ast.For(iter=ast.Set() | ast.SetComp()) | ast.comprehension(iter=ast.Set() | ast.SetComp()):
                found.append(f"{line}: iterates over a set")
            case ast.For(iter=ast.Call(func=ast.Name(id="set" | "frozenset"))):
                found.append(f"{line}: iterates over a set")
            case ast.comprehension(iter=ast.Call(func=ast.Name(id="set" | "frozenset"))):
                found.append(f"{line}: iterates over a set")
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_core_has_no_floats_no_clock_and_no_chance(path: Path) -> None:
    """One float in a comparison, one clock read, and a replay is no longer a proof."""
    assert offences(ast.parse(path.read_text("utf-8")), path.name) == []


@pytest.mark.parametrize(
    "code",
    [
        "x = 0.5",
        "x = a / b",
        "x /= 2",
        "y = float(x)",
        "y = round(x)",
        "import time",
        "from datetime import datetime",
        "t = datetime.now()",
        "import random",
        "for x in {1, 2}: pass",
        "[x for x in set(y)]",
    ],
)
def test_the_check_finds_what_it_is_there_for(code: str) -> None:
    """A check that finds nothing in anything would pass as well."""
    assert offences(ast.parse(code), "core.py")


SCENARIO = """
import sys
sys.path.insert(0, {tests!r})
from engine_market import config, instrument, random_block, random_signals
from tidemark.engine.config import EntryStyle, TargetStyle
from tidemark.engine.hours import ALWAYS, FixedHours
from tidemark.engine.loop import Engine
from tidemark.jit import JIT_ENABLED
print("compiled" if JIT_ENABLED else "plain")
for seed in range(6):
    block = random_block(seed, 150)
    settings = config(cash_micros=10**11, entry=list(EntryStyle)[seed % 2], target=list(TargetStyle)[seed // 2 % 2])
    machine = Engine(settings, (instrument("AA"), instrument("BB")), FixedHours({{"AA": [ALWAYS], "BB": [ALWAYS]}}))
    for pair in random_signals(seed, block, 20):
        machine.add_signal(*pair)
    machine.feed(block)
    machine.finish(int(block.event_ts_ns[-1]))
    print(machine.digest(), len(machine.drain()))
"""


def run_scenario(*, jit: str, hash_seed: str) -> list[str]:
    environment = {**os.environ, "TIDEMARK_JIT": jit, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SOURCE.parent)}
    code = SCENARIO.format(tests=str(Path(__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True, timeout=120)
    return done.stdout.splitlines()


def test_compiled_and_plain_kernels_and_any_hash_seed_give_the_same_journal() -> None:
    """A journal written by compiled kernels must replay where there is no compiler, in any process."""
    compiled, plain = run_scenario(jit="on", hash_seed="1"), run_scenario(jit="off", hash_seed="2")
    assert (compiled[0], plain[0]) == ("compiled", "plain")
    assert compiled[1:] == plain[1:]
    assert all(int(line.split()[1]) > 10 for line in plain[1:]), "the scenario does something"
