"""Every stage synthesized once per test process: no network, no Docker, no node of the system."""

import pytest

from infra.synthesized import STAGES, Synthesized, synthesize


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesized]:
    """All stages by name."""
    return {stage: synthesize(stage, tmp_path_factory.mktemp(stage)) for stage in STAGES}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, stages: dict[str, Synthesized]) -> Synthesized:
    """Each stage in turn."""
    return stages[request.param]
