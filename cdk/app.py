"""Synthesizes stages: `python cdk/app.py --stage dev|staging|prod|all --out DIR` writes one cloud assembly to DIR/STAGE each.

No network, no Docker, no node of the system. Under the CDK's own command line (cdk.json) it synthesizes the stage named by
`-c stage=NAME` into the folder that the command line has chosen.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ASSETS = ("real", "placeholder")
CLI_OUT_VARIABLE = "CDK_OUTDIR"
CLI_CONTEXT_VARIABLE = "CDK_CONTEXT_JSON"


def prepare() -> None:
    """Everything that must happen before the first import of the CDK."""
    spec = importlib.util.spec_from_file_location("tidemark_cdk_assembly", HERE / "assembly.py")
    assert spec is not None
    assert spec.loader is not None
    assembly = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(assembly)
    assembly.import_package()
    assembly.select_node()


def context() -> dict[str, Any]:
    """Feature flags as the command line would pass them, so that both ways give the same templates."""
    found: dict[str, Any] = json.loads((HERE / "cdk.json").read_text(encoding="utf-8"))["context"]
    return found


def synthesize(stage: str, out: Path, assets: str) -> Path:
    """One stage into `out`. Returns the assembly's folder."""
    import aws_cdk as cdk

    from cdk.assets import placeholder_assets, real_assets
    from cdk.builder import build_stage
    from cdk.stages import STAGES

    app = cdk.App(outdir=str(out), context=context(), analytics_reporting=False)
    with tempfile.TemporaryDirectory() as scratch:
        shipped = real_assets() if assets == "real" else placeholder_assets(Path(scratch))
        build_stage(app, STAGES[stage], shipped)
        folder = Path(app.synth().directory)
    if assets == "real":
        for problem in shipped.problems:
            print(f"warning: {stage}: not deployable: {problem}", file=sys.stderr)
    return folder


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options; the command line's own context stands in for a missing --stage."""
    from cdk.stages import STAGES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    given = json.loads(os.environ.get(CLI_CONTEXT_VARIABLE, "{}"))
    parser.add_argument("--stage", choices=[*STAGES, "all"], default=given.get("stage"), required="stage" not in given)
    parser.add_argument("--out", type=Path, default=HERE.parent / ".tidemark" / "cdk.out")
    parser.add_argument("--assets", choices=ASSETS, default="real")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Exit codes: 0 done, 2 bad usage or input."""
    prepare()
    from tidemark.errors import InputError

    options = parse(arguments)
    from cdk.stages import STAGES

    try:
        if CLI_OUT_VARIABLE in os.environ:
            synthesize(options.stage, Path(os.environ[CLI_OUT_VARIABLE]), options.assets)
            return 0
        for stage in STAGES if options.stage == "all" else (options.stage,):
            print(synthesize(stage, options.out / stage, options.assets))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
