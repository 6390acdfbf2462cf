"""The report of a result: sections in order, written as text, Markdown, JSON or HTML.

A section is a function `(result) -> Section`; one without parts is left out. To add one, put it
into `SECTIONS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from sim.errors import SimError, did_you_mean
from sim.report import capacity, happened, outcome, text
from sim.report.values import Column, Grid, Section, as_json, some

if TYPE_CHECKING:
    from sim.result import Result

__all__ = [
    "SECTIONS",
    "Column",
    "Grid",
    "Section",
    "html_summary",
    "print_report",
    "render",
    "sections",
    "some",
]

SECTIONS: dict[str, Callable[[Result], Section]] = {
    "headline": outcome.headline,
    "availability": outcome.available,
    "failures": happened.happened,
    "pending": outcome.waiting,
    "restarts": outcome.restarts,
    "utilization": capacity.utilization,
    "stranded": capacity.stranded,
    "overcommit": capacity.overcommit,
    "cost": capacity.cost,
    "unmodelled": outcome.unmodelled,
}
COMPACT = ("headline", "availability", "failures", "utilization")
FORMATS = ("text", "md", "json")


def render(result: Result, format: str = "text") -> str:
    """The whole report as a string; format is 'text', 'md' or 'json'."""
    if format == "json":
        return _json(result)
    if format not in FORMATS:
        raise SimError(
            f"no report format {format!r}; expected one of {', '.join(FORMATS)}."
            f" {did_you_mean(format, FORMATS)}".rstrip()
        )
    write = text.markdown if format == "md" else text.plain
    return write(sections(result).values())


def print_report(result: Result, file: TextIO | None = None) -> None:
    """Write the report to `file` (standard output): in colour on a terminal, else plain."""
    file = file or sys.stdout
    if file.isatty():
        text.on_terminal(sections(result).values(), file)
    else:
        file.write(render(result))


def sections(result: Result, names: tuple[str, ...] = ()) -> dict[str, Section]:
    """The sections that have something to say, all or those named."""
    made = {name: SECTIONS[name](result) for name in names or SECTIONS}
    return {name: section for name, section in made.items() if section.parts}


def html_summary(result: Result) -> str:
    """A few sections as HTML, for notebooks."""
    return text.html(sections(result, COMPACT).values())


def _json(result: Result) -> str:
    document = {
        "name": result.info.name,
        "seed": result.info.seed,
        "passed": result.passed,
        "summary": result.summary,
        "sections": {name: _as_data(section) for name, section in sections(result).items()},
    }
    return as_json(document) + "\n"


def _as_data(section: Section) -> dict[str, Any]:
    grids = [part for part in section.parts if isinstance(part, Grid)]
    return {
        "title": section.title,
        "text": [part for part in section.parts if isinstance(part, str)],
        "tables": [
            {
                "columns": [column.title for column in grid.columns],
                "rows": grid.rows,
                "left_out": grid.left_out,
            }
            for grid in grids
        ],
    }
