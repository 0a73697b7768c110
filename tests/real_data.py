"""Where tests find the real market data, and what happens where it is absent."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def require_all() -> bool:
    """Whether a missing part is a failure (continuous integration) and not a skip (somebody's laptop)."""
    return os.environ.get("TIDEMARK_REQUIRE_ALL") == "1"


def skip_or_fail(reason: str) -> None:
    """Skip the running test with `reason`, or fail it where everything is required."""
    if require_all():
        pytest.fail(f"TIDEMARK_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


def require_real_data(relative: str) -> Path:
    """Path of a real data file beside the project's folder; skips or fails where it is absent."""
    path = SHARED_DATA / relative
    if not path.exists():
        skip_or_fail(f"the real data file {relative} is not in ../shared/data")
    return path
