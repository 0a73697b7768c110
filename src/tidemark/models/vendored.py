"""The code that travels inside a model: inference.py and the few modules it needs, so that a container needs only numpy.

The modules are listed, not discovered: a test runs a model on nothing but its own copy, and fails when the list is short.
"""

from pathlib import Path

import tidemark
from tidemark.errors import bad_input

MODULES = (
    "__init__",
    "errors",
    "units",
    "models/__init__",
    "models/artifact",
    "models/brackets",
    "models/calibration",
    "models/description",
    "models/forward",
    "models/mirror",
    "models/npz",
    "models/predictor",
    "models/scaler",
    "models/serving",
    "models/support",
)
PACKAGE = Path(tidemark.__file__).parent
INFERENCE = PACKAGE.parents[1] / "sagemaker" / "inference" / "inference.py"


def serving_code(inference: Path = INFERENCE) -> dict[str, bytes]:
    """Files of a model's `code/` folder by relative name. Raises InputError when the inference script is not there."""
    if not inference.is_file():
        raise bad_input(str(inference), "file", "missing", "sagemaker/inference/inference.py", "run from a checkout of the project")
    files = {f"tidemark/{name}.py": (PACKAGE / f"{name}.py").read_bytes() for name in MODULES}
    return {"inference.py": inference.read_bytes(), **files}
