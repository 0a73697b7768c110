"""The catalogue as a Markdown table, for docs/features.md: `python -m tidemark.features.table`."""

import re
import sys

from tidemark.features.catalogue import FEATURES, Feature


def catalogue_table() -> str:
    """One line per family: columns that differ in a number only (level, window) share one, with the formula of the first."""
    families: dict[str, list[tuple[int, Feature]]] = {}
    for position, feature in enumerate(FEATURES):
        families.setdefault(re.sub(r"\d+", "#", f"{feature.name}|{feature.unit}|{feature.formula}"), []).append((position, feature))
    lines = ["| columns | names | unit | formula (of the first) | source |", "|---|---|---|---|---|"]
    lines += [_line(family) for family in families.values()]
    return "\n".join(lines) + "\n"


def _line(family: list[tuple[int, Feature]]) -> str:
    positions, names = [position for position, _ in family], [f"`{feature.name}`" for _, feature in family]
    first = family[0][1]
    where = str(positions[0]) if len(family) == 1 else f"{positions[0]}–{positions[-1]} ({len(family)})"
    shown = ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]}"
    formula = first.formula.replace("|", r"\|")
    return f"| {where} | {shown} | {first.unit} | {formula} | {first.source} |"


if __name__ == "__main__":
    sys.stdout.write(catalogue_table())
