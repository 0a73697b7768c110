"""What the stacks ship: the functions' package and the tasks' image contexts, real or as placeholders.

Placeholders keep the laptop's assembly independent of the domain code: names and wiring come from the template, the code runs
from the source tree. An assembly with problems synthesizes, but carries them as errors, at which `cdk deploy` stops.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_

from cdk.lambda_package import build_lambda_package, certificate_file
from cdk.lambda_target import LAMBDA

PROJECT = Path(__file__).resolve().parents[1]
BUILD_ROOT = PROJECT / ".tidemark" / "build"
FUNCTIONS = ("market_data", "signal")
TASKS = ("execution", "feed_gateway")
CONTEXT_FILES = ("pyproject.toml", "requirements.lock", "README.md", "LICENSE")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.nbi", "*.nbc", "*.egg-info")


@dataclass(frozen=True)
class Assets:
    """Folders for the assembly; `problems` forbid to deploy it."""

    layer_folder: Path
    function_folders: dict[str, Path]
    image_folders: dict[str, Path]
    problems: tuple[str, ...]

    def layer(self) -> lambda_.Code:
        """The libraries of all functions: uploaded once per lock."""
        return lambda_.Code.from_asset(str(self.layer_folder))

    def function(self, name: str) -> lambda_.Code:
        """One function's handler with our modules."""
        return lambda_.Code.from_asset(str(self.function_folders[name]))

    def image(self, task: str) -> ecs.ContainerImage:
        """Built by `cdk deploy`; synthesis only copies the context."""
        return ecs.ContainerImage.from_asset(str(self.image_folders[task]), platform=ecr_assets.Platform.LINUX_AMD64)

    def report(self, stack: cdk.Stack) -> None:
        """Put the problems on a stack that ships code."""
        for problem in self.problems:
            cdk.Annotations.of(stack).add_error(f"not deployable: {problem}")


def real_assets() -> Assets:
    """Everything as it would run in AWS."""
    package = build_lambda_package(PROJECT, BUILD_ROOT, LAMBDA)
    images = {task: image_context(PROJECT, BUILD_ROOT, task) for task in TASKS}
    return Assets(package.layer, package.functions, images, package.problems)


def placeholder_assets(folder: Path) -> Assets:
    """One file per asset below `folder`; the same for every state of the code."""

    def placeholder(name: str, file: str, text: str) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(text, encoding="utf-8")
        return folder / name

    return Assets(
        placeholder("layer", "README", "Programs of the laptop stage use the environment they are started from.\n"),
        {name: placeholder(f"function-{name}", "README", f"{name} of the laptop stage runs from the source tree.\n") for name in FUNCTIONS},
        {name: placeholder(f"image-{name}", "Dockerfile", f"FROM scratch\nLABEL task={name}\n") for name in TASKS},
        ("this assembly has placeholders for the code: synthesize it with --assets real",),
    )


def image_context(project: Path, build_root: Path, task: str) -> Path:
    """The folder that `docker build` gets for a task: only what its Dockerfile copies. Made anew each time, swapped in whole."""
    build_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build_root, prefix=".building-") as scratch:
        staged = Path(scratch) / "context"
        shutil.copytree(project / "src" / "tidemark", staged / "src" / "tidemark", ignore=LEFT_OUT)
        shutil.copytree(project / "ecs_tasks" / task, staged / "ecs_tasks" / task, ignore=LEFT_OUT)
        shutil.copy(project / "ecs_tasks" / "health.py", staged / "ecs_tasks" / "health.py")
        shutil.copy(project / "ecs_tasks" / task / "Dockerfile", staged / "Dockerfile")
        for name in CONTEXT_FILES:
            if (project / name).is_file():
                shutil.copy(project / name, staged / name)
        if certificate_file(project).is_file():
            shutil.copy(certificate_file(project), staged / certificate_file(project).name)
        folder = build_root / f"image-{task}"
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
    return folder
