"""RUN/report.html, made from the rest of the run's folder."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tidemark.adapters.dataset.atomic import atomic_file
from tidemark.adapters.runfolder_read import read_run
from tidemark.reporting.render import render_report

REPORT: Final = "report.html"


def write_report(run_dir: Path) -> Path:
    """Write the report of a run, whole or not at all, over an older one; returns its path. Raises InputError on a broken folder."""
    page = render_report(read_run(run_dir), plotly_script())
    path = run_dir / REPORT
    with atomic_file(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def plotly_script() -> str:
    """plotly's JavaScript from the installed package; empty without it, and the report says so in the charts' places."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        return ""
    script = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return script.read_text("utf-8") if script.is_file() else ""
