"""docs/features.md shows the catalogue as it is."""

from pathlib import Path

from tidemark.features.catalogue import COUNT, FEATURES
from tidemark.features.table import catalogue_table

DOCS = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_table_in_the_docs_is_the_generated_one() -> None:
    """Run `python -m tidemark.features.table` and paste its output when this fails."""
    assert catalogue_table() in DOCS.read_text(encoding="utf-8")


def test_every_column_stands_in_exactly_one_line_of_the_table() -> None:
    """Families are told apart by their text; none may swallow or lose a column."""
    lines = catalogue_table().splitlines()[2:]
    counts = [int(first.split("(")[1].rstrip(") ")) if "(" in first else 1 for first in (line.split("|")[1] for line in lines)]
    assert sum(counts) == COUNT
    assert all(f"`{FEATURES[i].name}`" in "".join(lines) for i in (0, 40, COUNT - 1))
