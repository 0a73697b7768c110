"""A stage synthesized in process, with placeholders for the code, and its resources as tests ask for them."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
STAGES = ("dev", "staging", "prod")


def load(path: Path, name: str) -> ModuleType:
    """A module by its path, as the programs outside cdk/ load it."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


assembly = load(PROJECT / "cdk" / "assembly.py", "tidemark_cdk_assembly")
assembly.import_package()
assembly.select_node()


@dataclass(frozen=True)
class Found:
    """A resource of a template."""

    stack: str
    id: str
    type: str
    properties: dict[str, Any]
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.stack}/{self.id}"


@dataclass(frozen=True)
class Synthesized:
    """One stage: its configuration, the folder of its assembly, its templates by stack, and what cdk-nag says of it."""

    config: Any
    folder: Path
    templates: dict[str, dict[str, Any]]
    nag: Any
    acknowledged: list[tuple[str, str, str]]
    """(construct path, rule, reason)."""

    def of(self, *types: str) -> list[Found]:
        """All resources of the given types."""
        return [found for found in self.all() if found.type in types]

    def all(self) -> Iterator[Found]:
        """Every resource of every stack."""
        for stack, template in self.templates.items():
            for logical_id, body in template["Resources"].items():
                yield Found(stack, logical_id, body["Type"], body.get("Properties", {}), body)

    def one(self, type_: str, **properties: Any) -> Found:
        """The only resource of a type that has these properties."""
        hits = [found for found in self.of(type_) if properties.items() <= found.properties.items()]
        assert len(hits) == 1, f"{len(hits)} of {type_} with {properties}"
        return hits[0]


def synthesize(stage: str, folder: Path) -> Synthesized:
    """Build, check with cdk-nag, synthesize and read one stage."""
    import aws_cdk
    import cdk_nag
    from cdk.assets import placeholder_assets
    from cdk.builder import build_stage
    from cdk.nag import METADATA
    from cdk.stages import STAGES as CONFIGS

    context = json.loads((PROJECT / "cdk" / "cdk.json").read_text(encoding="utf-8"))["context"]
    app = aws_cdk.App(outdir=str(folder / "out"), context=context, analytics_reporting=False)
    stacks = build_stage(app, CONFIGS[stage], placeholder_assets(folder / "assets"))
    nag = cdk_nag.AwsSolutionsChecks(app).validate_scope(app)
    acknowledged = [
        (node.node.path, entry.data["rule"], entry.data["reason"])
        for node in app.node.find_all()
        for entry in node.node.metadata
        if entry.type == METADATA
    ]
    out = Path(app.synth().directory)
    names = [stack.stack_name for stack in stacks]
    templates = {name: json.loads((out / f"{name}.template.json").read_text(encoding="utf-8")) for name in names}
    return Synthesized(CONFIGS[stage], out, templates, nag, acknowledged)
