"""A comparison of runs as text, Markdown or JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sim.errors import SimError, did_you_mean
from sim.report import text
from sim.report.values import (
    Column,
    Grid,
    Section,
    as_json,
    count,
    duration,
    first_rows,
    many,
    percent,
    text_column,
    usd,
)

if TYPE_CHECKING:
    from sim.comparison import Comparison, Difference, Measure

MOST_PODS = 20
FORMATS = ("text", "md", "json")
NOWHERE = "(waits)"
NEVER = "(does not exist)"
TOLD_APART = "*"
SHOW: dict[str, Callable[[float], str]] = {
    "share": percent,
    "count": count,
    "s": duration,
    "USD": usd,
}


def render(comparison: Comparison, measures: Sequence[Measure], format: str = "text") -> str:
    """The comparison as a string; `format` is 'text', 'md' or 'json'."""
    if format == "json":
        return as_json(comparison.as_dict()) + "\n"
    if format not in FORMATS:
        raise SimError(
            f"no format {format!r}; expected one of {', '.join(FORMATS)}."
            f" {did_you_mean(format, FORMATS)}".rstrip()
        )
    write = text.markdown if format == "md" else text.plain
    return write([_numbers(comparison, measures), _placements(comparison)])


def _numbers(comparison: Comparison, measures: Sequence[Measure]) -> Section:
    first, *others = comparison.names
    title = f"{first} against {' and '.join(others)}"
    several = len(comparison.seeds) > 1
    columns = [text_column("measure"), *(Column(n, right=True) for n in comparison.names)]
    columns += [Column(f"{name} - {first}", right=True) for name in others]
    rows = tuple(_row(comparison, measure, several) for measure in measures)
    grid = Grid((*columns, text_column("meaning")), rows)
    return Section(title, (*_premises(comparison), grid))


def _premises(comparison: Comparison) -> Iterator[str]:
    seeds = comparison.seeds
    if len(seeds) == 1:
        yield (
            f"One run each, with the same seed {seeds[0]}. One seed is one draw: another one may"
            " turn small differences round; --replications shows which ones last."
        )
        return
    yield (
        f"Means of {len(seeds)} runs each, seeds {seeds[0]} to {seeds[-1]}, the same for all."
        " Differences are taken seed by seed, ± is half of a 95 % interval;"
        f" {TOLD_APART} marks those whose interval does not hold zero."
    )


def _row(comparison: Comparison, measure: Measure, several: bool) -> tuple[str, ...]:
    show = SHOW[measure.unit]
    values = [float(comparison.table[name][measure.name]) for name in comparison.names]
    found = (comparison.differences[measure.name, name] for name in comparison.names[1:])
    told = (_difference(measure, difference, several) for difference in found)
    return (measure.name, *map(show, values), *told, measure.meaning)


def _difference(measure: Measure, difference: Difference, several: bool) -> str:
    """'+1.5 ± 0.3 *', '0' where nothing differs, '≈0' where it is too little to be shown."""
    show, mean, half = SHOW[measure.unit], difference.mean, difference.half_width
    if math.isnan(mean):
        return show(mean)
    shown = [show(abs(mean)), *([show(half)] if several else [])]
    if not any(digit in "".join(shown) for digit in "123456789"):
        return "≈0" if mean or half > 0 else "0"
    mark = f" {TOLD_APART}" if several and not difference.holds_zero else ""
    sign = "-" if mean < 0 else "+"
    points = " points" if measure.unit == "share" else ""
    return f"{sign}{' ± '.join(s.removesuffix(' %') for s in shown)}{points}{mark}"


def _placements(comparison: Comparison) -> Section:
    moved, names = comparison.moved, comparison.names
    everywhere = moved[list(names)].notna().all(axis=1)
    parts: list[str | Grid] = [_how_many_moved(comparison, int(everywhere.sum()))]
    alone = int((~everywhere).sum())
    if alone:
        verb = "pod does" if alone == 1 else "pods do"
        parts.append(f"{alone:,} {verb} not exist in every run.")
    if comparison.pods and len(moved):
        columns = (text_column("pod"), *map(text_column, names))
        listed = [*moved[everywhere].to_numpy().tolist(), *moved[~everywhere].to_numpy().tolist()]
        rows = [tuple(map(_place, row)) for row in listed]
        parts.append(first_rows(columns, rows, MOST_PODS, "the JSON form"))
    return Section("Pods placed differently", tuple(parts))


def _how_many_moved(comparison: Comparison, moved: int) -> str:
    pods, seed = comparison.pods, f"(seed {comparison.seeds[0]})"
    if not pods:
        return f"No pod exists in every run {seed}."
    if not moved:
        return f"{many(pods, 'pod')} in every run, each on the same node everywhere {seed}."
    return (
        f"{moved:,} of {pods:,} pods that exist in every run are not on the same node"
        f" everywhere {seed}. Ties that are broken at random move pods too:"
        " scheduler.tieBreak: first takes that out."
    )


def _place(node: object) -> str:
    if node is None or (isinstance(node, float) and math.isnan(node)):
        return NEVER
    return str(node) or NOWHERE
