"""The package of the Lambda functions: complete, small, the same every time, and refused where the runtime could not load it."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.synthesized import PROJECT
from tidemark.errors import InputError

FUNCTIONS = ("market_data", "signal")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The real package, built once from the running environment."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    return build_lambda_package(PROJECT, tmp_path_factory.mktemp("build"), LAMBDA)


def digest(folder: Path) -> str:
    """Of all names, contents and times below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(folder)} {path.stat().st_mtime_ns} {path.stat().st_mode}\n".encode() + path.read_bytes())
    return found.hexdigest()


def test_layer_and_function_fit_what_lambda_unpacks(package: Any) -> None:
    """250 MB unzipped for both together, as AWS counts it; ours is less than a third of that."""
    assert 0 < package.unzipped_bytes <= 250 * 1024 * 1024


def test_the_large_libraries_stay_out(package: Any) -> None:
    """Any one of them costs the limit or the cold start; boto3 is the runtime's own."""
    top = {path.name.lower() for path in (package.layer / "python").iterdir()}
    assert not top & {"torch", "pandas", "pyarrow", "numba", "llvmlite", "scipy", "sklearn", "boto3", "botocore"}
    assert {"numpy", "msgspec", "psycopg", "redis", "aws_lambda_powertools"} <= top


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_carries_only_modules_that_it_uses(package: Any, name: str) -> None:
    """No laptop stage, no command line, no training code."""
    folder = package.functions[name]
    assert (folder / "handler.py").is_file()
    ours = {path.name for path in (folder / "tidemark").iterdir()}
    assert {"adapters", "events.py", "errors.py"} <= ours
    assert not ours & {"local", "cli", "dashboard", "sim", "research", "market", "migrations"}
    assert not list(folder.rglob("*.pyc"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_package_alone_loads_its_handler(package: Any, name: str, tmp_path: Path) -> None:
    """In a Python that sees nothing but the function, the layer and what the runtime brings: a forgotten module shows here."""
    site = Path(sysconfig.get_paths()["purelib"])
    for provided in ("boto3", "botocore", "s3transfer", "dateutil", "urllib3", "six.py"):
        (tmp_path / provided).symlink_to(site / provided)
    path = [str(package.functions[name]), str(package.layer / "python"), str(tmp_path)]
    code = f"import sys; sys.path[:0] = {path!r}; import handler; assert callable(handler.handler); print(sorted(sys.modules))"
    environment = {
        "PATH": os.defpath,
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'numba'" not in done.stdout


def test_the_same_inputs_give_the_same_bytes(package: Any, tmp_path: Path) -> None:
    """Times included, so that an unchanged function is not uploaded again."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    again = build_lambda_package(PROJECT, tmp_path, LAMBDA)
    assert again.layer.name == package.layer.name
    assert digest(again.layer) == digest(package.layer)
    assert {name: digest(folder) for name, folder in again.functions.items()} == {
        name: digest(folder) for name, folder in package.functions.items()
    }
    assert {path.name for path in tmp_path.iterdir()} == {again.layer.name, *(folder.name for folder in again.functions.values())}


def small_project(root: Path, lock: str = "msgspec==0.0\n") -> Path:
    """A project with one function that needs one library."""
    (root / "lambdas" / "one").mkdir(parents=True)
    (root / "lambdas" / "one" / "handler.py").write_text("from tidemark.a import x\n", encoding="utf-8")
    (root / "src" / "tidemark" / "far").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "a": "def f():\n    import tidemark.far.b\n",
        "c": "",
        "far/__init__": "",
        "far/b": "import numba\n",
    }.items():
        (root / "src" / "tidemark" / f"{name}.py").write_text(text, encoding="utf-8")
    (root / "src" / "tidemark" / "far" / "table.json").write_text("{}", encoding="utf-8")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "x"\ndependencies = []\n[project.optional-dependencies]\nlambda = ["msgspec"]\nbig = ["numba"]\n',
        encoding="utf-8",
    )
    (root / "requirements.lock").write_text(lock, encoding="utf-8")
    return root


def locked(*names: str) -> str:
    from importlib import metadata

    return "".join(f"{name}=={metadata.version(name)}\n" for name in names)


def test_an_environment_that_is_not_the_lock_is_refused(tmp_path: Path) -> None:
    """Else the functions would run what nobody has tested."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    with pytest.raises(InputError, match=r"requirements.lock: msgspec: got .* installed; expected 0\.0"):
        build_lambda_package(small_project(tmp_path), tmp_path / "build", LAMBDA)


def test_a_package_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Before the upload, with its size."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    project = small_project(tmp_path, locked("msgspec"))
    with pytest.raises(InputError, match=r"size: got .* bytes unzipped; expected at most 1000"):
        build_lambda_package(project, tmp_path / "build", replace(LAMBDA, unzipped_bytes_max=1_000))


def test_a_large_library_among_the_requirements_is_refused(tmp_path: Path) -> None:
    """By name: its size alone would show only at the limit."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    project = small_project(tmp_path, locked("msgspec", "numba", "llvmlite", "numpy"))
    text = (project / "pyproject.toml").read_text(encoding="utf-8").replace('lambda = ["msgspec"]', 'lambda = ["numba"]')
    (project / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="llvmlite, numba; expected none of"):
        build_lambda_package(project, tmp_path / "build", LAMBDA)


def test_late_imports_and_tables_beside_modules_come_along_and_the_rest_does_not(tmp_path: Path) -> None:
    """An import inside a function fails at the first call, long after the deploy."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    built = build_lambda_package(small_project(tmp_path, locked("msgspec")), tmp_path / "build", LAMBDA)
    names = {path.relative_to(built.functions["one"]).as_posix() for path in built.functions["one"].rglob("*") if path.is_file()}
    assert names == {
        "handler.py",
        "tidemark/__init__.py",
        "tidemark/a.py",
        "tidemark/far/__init__.py",
        "tidemark/far/b.py",
        "tidemark/far/table.json",
    }


@pytest.mark.parametrize(
    ("tags", "needed"),
    [
        (["cp311-cp311-manylinux_2_27_x86_64", "cp311-cp311-manylinux_2_28_x86_64"], (2, 27)),
        (["cp311-cp311-manylinux2014_x86_64", "cp311-cp311-manylinux_2_28_x86_64"], (2, 17)),
        (["cp311-cp311-manylinux1_x86_64"], (2, 5)),
        (["py3-none-any"], (0, 0)),
    ],
)
def test_a_wheel_says_which_c_library_it_needs(tags: list[str], needed: tuple[int, int]) -> None:
    """The least of its tags is enough: each tag is a promise."""
    from cdk.lambda_package import glibc_needed

    assert glibc_needed("Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags)) == needed


def test_what_the_runtime_could_not_load_is_a_problem(tmp_path: Path) -> None:
    """A package that imports here and fails there: an older C library, another Python, another processor."""
    from cdk.lambda_package import build_lambda_package
    from cdk.lambda_target import LAMBDA

    project = small_project(tmp_path, locked("msgspec"))
    other = replace(LAMBDA, glibc=(2, 5), python=(3, 2), machine="s390x")
    problems = "\n".join(build_lambda_package(project, tmp_path / "build", other).problems)
    assert "msgspec" in problems
    assert "needs glibc 2.17, the python3.11 runtime has 2.5" in problems
    assert "built with Python" in problems
    assert "the function runs on s390x" in problems
    assert "certificate bundle is missing" in problems


def test_problems_stop_a_deploy_and_not_a_synthesis(package: Any, tmp_path: Path) -> None:
    """They are errors on the stacks that ship code: `cdk deploy` stops at them, while names and wiring stay checkable."""
    import aws_cdk
    from cdk.assets import placeholder_assets

    app = aws_cdk.App(outdir=str(tmp_path / "out"))
    stack = aws_cdk.Stack(app, "stack")
    shipped = replace(placeholder_assets(tmp_path / "assets"), problems=("first", "second"))
    shipped.report(stack)
    app.synth()
    metadata = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8") + "".join(
        path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.metadata.json")
    )
    assert "not deployable: first" in metadata
    assert "aws:cdk:error" in metadata
    shutil.rmtree(tmp_path / "out")
