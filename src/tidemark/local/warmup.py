"""What `make setup` does once so that later starts are quick: compiled kernels into numba's cache, heavy packages' byte code.

`python -m tidemark.local.warmup`
"""

import compileall
import importlib
import sysconfig
from pathlib import Path

KERNEL_MODULES = ("tidemark.features.warmup", "tidemark.engine.warmup")
PACKAGES = (
    "numpy",
    "numba",
    "llvmlite",
    "torch",
    "boto3",
    "botocore",
    "moto",
    "pyarrow",
    "psycopg",
    "redis",
    "starlette",
    "uvicorn",
    "rich",
    "typer",
)


def main() -> None:
    """Compile kernels by running each on a few events; compile the byte code of what every run imports."""
    site = Path(sysconfig.get_paths()["purelib"])
    for package in PACKAGES:
        compileall.compile_dir(str(site / package), quiet=2, workers=2)
    for module in KERNEL_MODULES:
        importlib.import_module(module).warm_up()


if __name__ == "__main__":
    main()
