"""Sections as plain text, on a terminal, as Markdown and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TextIO

from sim.report.values import Grid, Section

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
INDENT = "  "
GAP = 2  # between columns
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
            lines += [INDENT + part.left_out] if part.left_out else []
        else:
            lines += textwrap.wrap(part, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return lines


def grid_lines(grid: Grid, width: int) -> list[str]:
    """Header and rows, aligned; words are wrapped to fit `width`, names and numbers never cut."""
    titles = [column.title for column in grid.columns]
    widths = _widths(grid, width)
    return [line for row in (titles, *grid.texts()) for line in _row(grid, row, widths)]


def _widths(grid: Grid, width: int) -> list[int]:
    """Widths of the columns: sentences give way first, the last one before others, then titles.

    A column keeps room for its longest word, so that a line may be longer than `width`.
    """
    cells = list(zip(*grid.texts(), strict=True)) or [()] * len(grid.columns)
    widths, least = [], []
    for column, texts in zip(grid.columns, cells, strict=True):
        full = max(map(len, (column.title, *texts)))
        words = (word for text in (column.title, *texts) for word in text.split())
        longest = max(map(len, words), default=0)
        numbers = max((longest, *map(len, texts)))
        widths.append(full)
        least.append(numbers if column.right else min(full, max(NARROWEST, longest + 1)))
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    places = range(len(widths) - 1, -1, -1)
    for i in sorted(places, key=lambda i: grid.columns[i].right):
        step = max(0, min(excess, widths[i] - least[i]))
        widths[i] -= step
        excess -= step
    return widths


def _row(grid: Grid, cells: list[str], widths: list[int]) -> list[str]:
    wrapped = [
        _wrapped(cell, width, "" if column.right else " ")
        for column, cell, width in zip(grid.columns, cells, widths, strict=True)
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


def _wrapped(cell: str, width: int, indent: str) -> list[str]:
    lines = textwrap.wrap(
        cell, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines or [""]


def markdown(sections: Iterable[Section]) -> str:
    """GitHub-flavoured Markdown: fit for a comment on a change."""
    blocks: list[str] = []
    for level, section in enumerate(sections):
        blocks.append(("## " if level == 0 else "### ") + _escape(section.title))
        for part in section.parts:
            blocks.append("\n".join(_pipes(part)) if isinstance(part, Grid) else _escape(part))
            if isinstance(part, Grid) and part.left_out:
                blocks.append(_escape(part.left_out))
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
    width = console.width
    for section in sections:
        console.print(Text(section.title, style="bold cyan"))
        for part in section.parts:
            if isinstance(part, Grid):
                _table_on_terminal(part, console, width)
            else:
                console.print(Padding(Text(part), (0, 0, 0, 2)))
        console.print()


def _table_on_terminal(grid: Grid, console: Console, width: int) -> None:
    """Print a table; one that cannot be narrow enough runs over the edge of the screen."""
    from rich.padding import Padding
    from rich.text import Text

    widths = _widths(grid, width - len(INDENT))
    console.width = max(width, sum(widths) + GAP * len(widths) + len(INDENT))
    console.print(Padding(rich_table(grid, widths), (0, 0, 0, len(INDENT)), expand=False))
    console.width = width
    if grid.left_out:
        console.print(Padding(Text(grid.left_out, style="dim"), (0, 0, 0, len(INDENT))))


def rich_table(grid: Grid, widths: list[int]) -> Table:
    """A grid as a table of rich, with bad values in red."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    for column, width in zip(grid.columns, widths, strict=True):
        justify: Literal["right", "left"] = "right" if column.right else "left"
        table.add_column(Text(column.title), justify=justify, width=width, overflow="fold")
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
{%- if part.left_out %}
<p style="margin: .2em 0">{{ part.left_out }}</p>
{%- endif %}
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
