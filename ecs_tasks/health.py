"""Health check of a task's container: exit 0 while the program is well, 1 with a reason when it is not.

A program that makes a statement is held to it: it rewrites the file named by HEALTH_FILE at least every few seconds, as JSON
`{"state": "READY", "detail": "…"}`. Before its first statement it is in its start period, which ECS counts; only the standard library.
"""

import json
import os
import sys
import time
from pathlib import Path

AGE_S_MAX = 15.0  # three beats of five seconds
UNWELL = frozenset({"FAILED", "FENCED"})
"""HALTED and RECOVERING are states of a program that does its work: a restart would not help."""


def verdict(path: Path, now_s: float) -> str:
    """Empty when well, else the reason."""
    try:
        age_s = now_s - path.stat().st_mtime
        statement = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ""  # the program has not spoken yet, or speaks only by being alive: when it ends, so does the container
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    if age_s > AGE_S_MAX:
        return f"last statement {age_s:.0f} s ago; expected at most {AGE_S_MAX:.0f}"
    state = statement.get("state") if isinstance(statement, dict) else None
    if not isinstance(state, str):
        return f"{path}: state: got {state!r}; expected text"
    return f"{state}: {statement.get('detail', '')}" if state in UNWELL else ""


def main() -> int:
    """Exit codes as ECS reads them."""
    reason = verdict(Path(os.environ.get("HEALTH_FILE", "/var/lib/tidemark/health.json")), time.time())
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
