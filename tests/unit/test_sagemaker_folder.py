"""The folder `sagemaker/` must never shadow the SDK of that name."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from real_data import skip_or_fail

PROJECT = Path(__file__).resolve().parents[2]
SDK_FOLDERS = {"ai_registry", "core", "lineage", "mlops", "serve", "train"}


def test_the_folder_is_no_package_and_has_no_folder_of_the_sdk() -> None:
    """With an `__init__.py`, or a folder the SDK has too, one of the two would be unreachable."""
    folder = PROJECT / "sagemaker"
    assert not (folder / "__init__.py").exists()
    assert not SDK_FOLDERS & {path.name for path in folder.iterdir()}
    assert not list(folder.rglob("test_*.py")), "a test in there would make pytest put a fake package in the SDK's place"


@pytest.mark.slow
def test_the_sdk_is_importable_from_the_projects_root() -> None:
    """`python -m` puts the root on the path; the SDK's own package must still win."""
    spec = importlib.util.find_spec("sagemaker")
    if spec is None or importlib.util.find_spec("sagemaker.core") is None:
        skip_or_fail("the SageMaker SDK is not installed (make setup EXTRAS=dev,mlops)")
    code = "import sagemaker.core, sagemaker; print(sagemaker.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True)
    assert "site-packages" in done.stdout
