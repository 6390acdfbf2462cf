"""Sections as plain text, on a terminal, as Markdown and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from sim.report.values import Grid, Section

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 100
INDENT = "  "
NARROWEST = 24  # a column of words is not squeezed below this


def plain(sections: Iterable[Section]) -> str:
    """Aligned text of at most 100 columns, where words can be wrapped."""
    return "\n\n".join("\n".join(_section(section)) for section in sections) + "\n"


def _section(section: Section) -> list[str]:
    lines = [section.title, "=" * len(section.title)]
    for before, part in zip((None, *section.parts), section.parts, strict=False):
        if isinstance(before, Grid):
            lines.append("")
        if isinstance(part, Grid):
            lines += [INDENT + line for line in grid_lines(part, WIDTH - len(INDENT))]
        else:
            lines += textwrap.wrap(part, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return lines


def grid_lines(grid: Grid, width: int) -> list[str]:
    """Header and rows, aligned; the widest column of words is wrapped to fit `width`."""
    titles = [column.title for column in grid.columns]
    table = [titles, *grid.texts()]
    widths = _squeeze(grid, [max(map(len, cells)) for cells in zip(*table, strict=True)], width)
    return [line for row in table for line in _row(grid, row, widths)]


def _squeeze(grid: Grid, widths: list[int], width: int) -> list[int]:
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    words = [i for i, column in enumerate(grid.columns) if not column.right]
    while excess > 0 and words:
        widest = max(words, key=lambda i: widths[i])
        room = widths[widest] - NARROWEST
        if room <= 0:
            break
        others = [widths[i] for i in words if i != widest]
        step = min(excess, room, max(1, widths[widest] - max(others, default=0)))
        widths[widest] -= step
        excess -= step
    return widths


def _row(grid: Grid, cells: list[str], widths: list[int]) -> list[str]:
    wrapped = [
        textwrap.wrap(cell, width, subsequent_indent=" ") or [""]
        for cell, width in zip(cells, widths, strict=True)
    ]
    lines = []
    for k in range(max(map(len, wrapped))):
        texts = [part[k] if k < len(part) else "" for part in wrapped]
        aligned = (
            text.rjust(width) if column.right else text.ljust(width)
            for column, text, width in zip(grid.columns, texts, widths, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    return lines


def markdown(sections: Iterable[Section]) -> str:
    """GitHub-flavoured Markdown: fit for a comment on a change."""
    blocks: list[str] = []
    for level, section in enumerate(sections):
        blocks.append(("## " if level == 0 else "### ") + _escape(section.title))
        blocks += [
            "\n".join(_pipes(part)) if isinstance(part, Grid) else _escape(part)
            for part in section.parts
        ]
    return "\n\n".join(blocks) + "\n"


def _pipes(grid: Grid) -> list[str]:
    rules = ["---:" if column.right else "---" for column in grid.columns]
    titles = [column.title for column in grid.columns]
    rows = [[_escape(cell) for cell in row] for row in [titles, *grid.texts()]]
    return ["| " + " | ".join(row) + " |" for row in [rows[0], rules, *rows[1:]]]


def _escape(text: str) -> str:
    for sign in "\\|<*_`[":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def on_terminal(sections: Iterable[Section], file: TextIO) -> None:
    """Write sections in colour."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(file=file, highlight=False)
    for section in sections:
        console.print(Text(section.title, style="bold cyan"))
        for part in section.parts:
            block = rich_table(part) if isinstance(part, Grid) else Text(part)
            console.print(Padding(block, (0, 0, 0, 2)))
        console.print()


def rich_table(grid: Grid) -> Table:
    """A grid as a table of rich, with bad values in red."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in grid.columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            no_wrap=column.right,
            overflow="fold",
        )
    for row, texts in zip(grid.rows, grid.texts(), strict=True):
        cells = zip(grid.columns, row, texts, strict=True)
        table.add_row(*(Text(t, style="bold red" if c.bad(v) else "") for c, v, t in cells))
    return table


TEMPLATE = """\
<div style="font-family: sans-serif; font-size: 13px; max-width: 62em">
{%- for section in sections %}
<h4 style="margin: .8em 0 .2em">{{ section.title }}</h4>
{%- for part in section.parts %}
{%- if part is string %}
<p style="margin: .2em 0">{{ part }}</p>
{%- else %}
<table>
<thead><tr>
{%- for column in part.columns %}<th style="text-align: {{ side(column) }}">{{ column.title }}</th>
{%- endfor %}</tr></thead>
<tbody>
{%- for row in cells(part) %}
<tr>{% for column, text, bad in row -%}
<td style="text-align: {{ side(column) }}{{ BAD if bad }}">
{{- text }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table>
{%- endif %}
{%- endfor %}
{%- endfor %}
</div>
"""


def html(sections: Iterable[Section]) -> str:
    """A fragment for a notebook or a page; every value is escaped."""
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(TEMPLATE)
    return template.render(
        sections=list(sections),
        BAD="; color: #b00020; font-weight: bold",
        side=lambda column: "right" if column.right else "left",
        cells=lambda grid: [
            [(c, t, c.bad(v)) for c, v, t in zip(grid.columns, row, texts, strict=True)]
            for row, texts in zip(grid.rows, grid.texts(), strict=True)
        ],
    )
