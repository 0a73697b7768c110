"""What a function needs: our modules by following its imports, third-party distributions by following their requirements.

Only the standard library and `packaging`: this runs before any cloud library is loaded.
"""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tidemark.errors import bad_input

PACKAGE = "tidemark"


def module_closure(entries: Iterable[Path], source_root: Path) -> frozenset[str]:
    """Names of all modules below `source_root` that the entry files reach by imports, late ones inside functions included."""
    found: set[str] = set()
    waiting = [name for entry in entries for name in _imports(entry, source_root)]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting.extend(_imports(_file_of(name, source_root), source_root))
    return frozenset(found)


def _imports(path: Path, source_root: Path) -> Iterator[str]:
    """Our modules that a file imports, each with its parent packages, which Python runs too."""
    for node in ast.walk(ast.parse(path.read_bytes(), filename=str(path))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]  # the name may be a module
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE and _exists(name, source_root):
                yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _exists(name: str, source_root: Path) -> bool:
    base = source_root.joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def _file_of(name: str, source_root: Path) -> Path:
    base = source_root.joinpath(*name.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def source_files(modules: Iterable[str], source_root: Path) -> list[Path]:
    """Files of the modules, with the data files (JSON tables and the like) that lie beside them. Sorted."""
    files = {_file_of(name, source_root) for name in modules}
    beside = {
        path for folder in {file.parent for file in files} for path in folder.iterdir() if path.suffix in (".json", ".yaml", ".typed")
    }
    return sorted(files | beside)


def third_party_imports(entries: Iterable[Path], modules: Iterable[str], source_root: Path) -> set[str]:
    """Distributions that the entries and modules import when they are loaded; late imports inside functions are left out."""
    owners = metadata.packages_distributions()
    found: set[str] = set()
    for path in (*entries, *(_file_of(name, source_root) for name in modules)):
        for name in _loaded_with(ast.parse(path.read_bytes(), filename=str(path))):
            if name not in sys.stdlib_module_names and name != PACKAGE:
                found.add(canonicalize_name(owners[name][0]) if name in owners else name)
    return found


def _loaded_with(node: ast.AST) -> Iterator[str]:
    """Top-level names of what a module imports outside functions and type-checking blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module is not None and child.level == 0:
            yield child.module.split(".")[0]
        else:
            yield from _loaded_with(child)


@dataclass(frozen=True)
class Distribution:
    """An installed third-party distribution that goes into a package."""

    name: str
    version: str
    installed: metadata.Distribution


def extra_requirements(pyproject: Path, extra: str) -> list[Requirement]:
    """Requirements of the project itself and of one of its extras."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"][extra])]


def distribution_closure(requirements: Iterable[Requirement], without: frozenset[str]) -> list[Distribution]:
    """Installed distributions that the requirements lead to, sorted by name. Raises InputError when one is not installed."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen or name in without:
            continue
        seen.add(key)
        try:
            installed = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            raise bad_input(sys.prefix, requirement.name, "not installed", "an installed distribution", "run make setup") from None
        found[name] = Distribution(name, installed.version, installed)
        waiting.extend(_required_by(installed, requirement.extras))
    return [found[name] for name in sorted(found)]


def _required_by(installed: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in installed.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def check_lock(distributions: Iterable[Distribution], lock: Path) -> None:
    """Raises InputError naming the first distribution whose installed version is not the locked one."""
    locked = dict(_locked(lock))
    for found in distributions:
        if locked.get(found.name) != found.version:
            raise bad_input(
                lock.name, found.name, f"{found.version} installed", locked.get(found.name, "an entry in the lock"), "run make setup"
            )


def _locked(lock: Path) -> Iterator[tuple[str, str]]:
    for line in lock.read_text(encoding="utf-8").splitlines():
        text = line.split("#", 1)[0].split(";", 1)[0].strip()
        if "==" in text:
            name, version = text.split("==", 1)
            yield canonicalize_name(name.split("[", 1)[0].strip()), version.split("\\", 1)[0].strip()
