"""What a report is made of: sections of sentences and grids, and how values read.

A section knows nothing of its output; text, Markdown, JSON and HTML are made from the same values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "-"  # what an undefined value reads as


def _never(value: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a grid: numbers stand to the right; `bad` values are coloured on a terminal."""

    title: str
    show: Callable[[Any], str] = str
    right: bool = False
    bad: Callable[[Any], bool] = _never


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of raw values."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    left_out: str = ""  # what is said below a table that was cut

    def texts(self) -> list[list[str]]:
        """The cells as they read."""
        return [
            [column.show(value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a report; `parts` are sentences and grids in order."""

    title: str
    parts: tuple[str | Grid, ...]


def first_rows(
    columns: tuple[Column, ...], rows: Sequence[tuple[Any, ...]], most: int, where: str
) -> Grid:
    """A grid of at most so many rows; below them how many are left out, and where all are."""
    rest = len(rows) - most
    left_out = f"... and {rest:,} more; see {where}" if rest > 0 else ""
    return Grid(columns, tuple(rows[:most]), left_out)


def text_column(title: str) -> Column:
    """A column of words."""
    return Column(title)


def number(title: str, show: Callable[[Any], str], bad: Callable[[Any], bool] = _never) -> Column:
    """A column of numbers, shown by `show`."""
    return Column(title, show, True, bad)


def percent(share: float, decimals: int = 1) -> str:
    """0.1234 as '12.3 %'."""
    return NOTHING if math.isnan(share) else f"{share * 100:.{decimals}f} %"


def availability(share: float) -> str:
    """A share near one with as many digits as tell it from 100 %: '99.98 %', '99.9996 %'."""
    if math.isnan(share) or share >= 1:
        return percent(share, 2) if share != 1 else "100 %"
    for decimals in range(2, 7):
        text = percent(share, decimals)
        if not text.startswith("100"):
            return text
    return "just under 100 %"


def ratio(value: float) -> str:
    """1.4 as '1.40×'."""
    return NOTHING if math.isnan(value) else f"{value:.2f}×"


def count(value: float) -> str:
    """Thousands separated; one decimal unless whole."""
    if math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def about(value: float) -> str:
    """An estimate in whole numbers: '≈28'; '0' when it is none at all."""
    if math.isnan(value):
        return NOTHING
    return f"≈{value:,.0f}" if value else "0"


def cores(milli: float) -> str:
    """Millicores as cores: '1.25'."""
    return NOTHING if math.isnan(milli) else f"{milli / 1000:.2f}"


def memory(size_b: float) -> str:
    """Bytes as '350 MiB' or '1.5 GiB'."""
    if math.isnan(size_b):
        return NOTHING
    return f"{size_b / 2**20:.0f} MiB" if size_b < 2**30 else f"{size_b / 2**30:.1f} GiB"


def usd(value: float) -> str:
    """Dollars and cents."""
    return NOTHING if math.isnan(value) else f"${value:,.2f}"


def duration(seconds: float) -> str:
    """'350 ms', '12.4 s', '5m 50s', '1h 05m', '2d 03h': '2h' when whole."""
    if math.isnan(seconds):
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, 60, "ms")
    minutes = round(seconds / 60)
    if minutes < 1440:
        return _two(minutes, 60, "hm")
    return _two(round(seconds / 3600), 24, "dh")


def _two(amount: int, size: int, letters: str) -> str:
    """`amount` in a larger and a smaller unit; the smaller one is left out when it is zero."""
    larger, smaller = divmod(amount, size)
    rest = f" {smaller:02d}{letters[1]}" if smaller else ""
    return f"{larger}{letters[0]}{rest}"


def moment(seconds: float) -> str:
    """A time of the run to the second: '0:30:00', '26:05:09' (hours, minutes, seconds)."""
    whole = math.floor(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def many(amount: int, singular: str, plural: str = "") -> str:
    """'1 pod', '1,200 pods', '2 replicas'."""
    return f"{amount:,} {singular if amount == 1 else plural or singular + 's'}"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names: 'a, b, c and 4 more'."""
    rest = len(names) - most
    shown = ", ".join(names[:most])
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def by_unit(value: float, unit: str) -> str:
    """A summary number as it reads in its unit (`sim.schema.SummaryName.unit`)."""
    show = {"share": availability, "ratio": ratio, "s": duration, "USD": usd}.get(unit, count)
    return show(value)


def as_json(value: Any) -> str:
    """Strict JSON, indented: numpy scalars become numbers, NaN becomes null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
