"""Figures as text, and text as HTML. A figure that is not there reads "no data", never 0."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from numbers import Real
from typing import Any, Final

from tidemark.units import BPS_PER_ONE, MICROS_PER_USD, NS_PER_MS, NS_PER_S, NS_PER_US, PPM_PER_ONE

NO_DATA: Final = "no data"


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: text with a class. `n` is a right-aligned figure."""

    text: str
    name: str = ""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Anything as HTML text; markup stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def number(value: object) -> float | None:
    """`value` if it is a finite number."""
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) else None


def count(value: object) -> str:
    figure = number(value)
    return NO_DATA if figure is None else f"{figure:,.0f}".replace("-", "−")


def plain(value: object) -> str:
    figure = number(value)
    return NO_DATA if figure is None else f"{figure:,.3f}".rstrip("0").rstrip(".").replace("-", "−")


def percent(share: object) -> str:
    """A share of one, in percent with as many places as it needs; a share just under one is not rounded up to all."""
    figure = number(share)
    if figure is None:
        return NO_DATA
    places = 3 if 0.99 < figure < 1.0 else 1 if abs(figure) >= 0.1 else 2 if abs(figure) >= 0.001 or figure == 0 else 4
    return f"{100 * figure:,.{places}f} %".replace("-", "−")


def usd(micros: object, *, signed: bool = False) -> str:
    figure = number(micros)
    if figure is None:
        return NO_DATA
    sign = "−" if figure < 0 else "+" if signed and figure > 0 else ""
    return f"{sign}${abs(figure) / MICROS_PER_USD:,.2f}"


def duration(ns: object) -> str:
    figure = number(ns)
    if figure is None:
        return NO_DATA
    for size, unit in ((NS_PER_S, "s"), (NS_PER_MS, "ms"), (NS_PER_US, "µs")):
        if abs(figure) >= size:
            return f"{figure / size:,.3g} {unit}" if abs(figure) < 1_000 * size else f"{figure / size:,.0f} {unit}"
    return f"{figure:.0f} ns"


def moment(ns: object, *, date: bool = True) -> str:
    """UTC, to the millisecond."""
    if number(ns) is None or int(ns) <= 0:  # type: ignore[call-overload]  # a number; a float would lose its last digits
        return NO_DATA
    seconds, rest = divmod(int(ns), NS_PER_S)  # type: ignore[call-overload]
    shown = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")
    return f"{shown}.{rest // NS_PER_MS:03d}"


def with_unit(value: object, unit: str) -> str:
    """A rule's figure in its unit."""
    figure = number(value)
    if figure is None:
        return NO_DATA
    match unit:
        case "micros" | "micro-dollars":
            return usd(figure)
        case "ns":
            return duration(figure)
        case "bps":
            return percent(figure / BPS_PER_ONE)
        case "ppm":
            return percent(figure / PPM_PER_ONE)
    return f"{count(figure)} {unit}".rstrip()


def words(name: str) -> str:
    """`risk_limit_breaches` → `risk limit breaches`."""
    return name.replace("_", " ").lower()


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, caption: str, nothing: str = NO_DATA, figures_from: int = 1
) -> Markup:
    """A table that scrolls sideways where it must. Columns from `figures_from` on are figures; without rows, one line says so."""
    body = [_row(cells, figures_from) for cells in rows]
    if not body:
        return Markup(f'<p class="none">{escape(nothing)}</p>')
    head = "".join(f'<th scope="col"{_class("n" if i >= figures_from else "")}>{escape(text)}</th>' for i, text in enumerate(heads))
    return Markup(
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, object]], name: str = "facts") -> Markup:
    """Terms with what they are."""
    items = "".join(f"<div><dt>{escape(term)}</dt><dd>{escape(NO_DATA if said is None else said)}</dd></div>" for term, said in pairs)
    return Markup(f'<dl class="{name}">{items}</dl>')


def section(key: str, title: str, *parts: str, note: str = "") -> Markup:
    """A titled part of the report."""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    head = f'<h2 id="{key}-title">{escape(title)}</h2>'
    return Markup(f'<section id="{key}" aria-labelledby="{key}-title">{head}{said}{"".join(parts)}</section>')


def figure_box(key: str, label: str, name: str = "") -> Markup:
    """The place of a chart; `name` is `tall` or `square`."""
    return Markup(f'<div class="{f"chart {name}".strip()}" id="{key}" role="img" aria-label="{escape(label)}"></div>')


def named(source: Mapping[str, Any], name: str) -> str | None:
    """A text of a table; None where it is missing or null."""
    value = source.get(name)
    return None if value is None or value == "" else str(value)


def _row(cells: Sequence[Cell | str], figures_from: int) -> str:
    parts = []
    for i, cell in enumerate(cells):
        text, name = (cell.text, cell.name) if isinstance(cell, Cell) else (cell, "")
        classes = " ".join(part for part in (name, "n" if i >= figures_from and name != "t" else "") if part)
        parts.append(f'<th scope="row"{_class(classes)}>{escape(text)}</th>' if i == 0 else f"<td{_class(classes)}>{escape(text)}</td>")
    return f"<tr>{''.join(parts)}</tr>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
