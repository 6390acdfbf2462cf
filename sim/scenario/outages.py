"""Outage traces: CSV or YAML files of which node or zone was down, from when until when.

A row has a node or a zone, a start and an end; without an end the outage is for good. Times are
durations from the start of the run ("90m"), numbers of seconds, or RFC 3339 times.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path as FilePath
from typing import Any

from sim.behaviour import Constant
from sim.errors import Position, Problem
from sim.scenario.checks import Finding, absent, is_node, no_node, zones_in
from sim.scenario.faults import Fault
from sim.scenario.pools import Pool
from sim.units import duration_ms, shown
from sim.yamls import Document, read_documents

COLUMNS = ("node", "zone", "start", "end")
TIME_TEXT = "a duration such as '90m', a number of seconds, or an RFC 3339 time"
HEADER_TEXT = "expected a header with start, end, and node or zone or both."

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Rows:
    """What a file holds, and where each value of it stands."""

    rows: list[Row]
    file: str
    places: list[dict[str, Position]] | None = None  # of a CSV file
    document: Document | None = None

    def position(self, row: int, column: str) -> Position:
        if self.document is not None:
            return self.document.position(row, column)
        assert self.places is not None
        return self.places[row].get(column, Position(self.file, row + 2, 1))


def faults_of(
    fault: Fault,
    file: FilePath,
    start_ms: int,
    known: tuple[tuple[Pool, ...], Any],
    problems: list[Problem],
) -> list[Fault]:
    """One fault for each row of the file that `fault` names; what is wrong goes to `problems`.

    `known`: the pools and manifests whose nodes and zones may be named; `start_ms`: when the run
    begins, in milliseconds since 1970.
    """
    table = _read(file, problems)
    found = []
    for number, row in enumerate(table.rows if table else []):
        assert table is not None
        wrong = list(_findings(row, start_ms, known))
        for path, message, hint in wrong:
            position = table.position(number, str(path[0]) if path else "")
            problems.append(Problem(position, message, ".".join(map(str, path)), hint))
        if not wrong:
            found.append(_fault(fault, row, start_ms))
    return found


def _fault(fault: Fault, row: Row, start_ms: int) -> Fault:
    at_ms = _time_ms(row["start"], start_ms)
    down = None
    if row.get("end") not in (None, ""):
        down = Constant(_time_ms(row["end"], start_ms) - at_ms)
    where = {name: row.get(name) or None for name in ("node", "zone")}
    return fault.model_copy(update={"trace": None, "at_ms": at_ms, "down": down, **where})


def _findings(row: Row, start_ms: int, known: tuple[tuple[Pool, ...], Any]) -> Iterator[Finding]:
    node, zone = row.get("node") or None, row.get("zone") or None
    if (node is None) == (zone is None):
        yield (), "expected either a node or a zone.", ""
    elif node is not None and not is_node(str(node), *known):
        yield ("node",), *no_node(str(node), *known)
    elif zone is not None and zone not in zones_in(*known):
        yield ("zone",), *absent("zone", str(zone), zones_in(*known))
    times = {}
    for name in ("start", "end"):
        value = row.get(name)
        if name == "end" and value in (None, ""):
            continue
        try:
            times[name] = _time_ms(value, start_ms)
        except ValueError:
            yield (name,), f"got {shown(value)}; expected {TIME_TEXT}.", ""
    if times.get("start", 0) < 0:
        yield ("start",), f"got {shown(row['start'])}, which is before the run begins.", ""
    elif len(times) == 2 and times["end"] <= times["start"]:
        yield ("end",), "expected an end later than the start.", ""


def _time_ms(value: object, start_ms: int) -> int:
    """Milliseconds from the start of the run."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(value)
    text = str(value)
    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        pass
    if "T" not in text:
        return duration_ms(text)
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return round(instant.timestamp() * 1000) - start_ms


def _read(file: FilePath, problems: list[Problem]) -> _Rows | None:
    return _read_csv(file, problems) if file.suffix == ".csv" else _read_yaml(file, problems)


def _read_csv(file: FilePath, problems: list[Problem]) -> _Rows | None:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        table = [row for row in csv.reader(lines, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(Problem(Position(str(file)), f"cannot be read: {error}."))
        return None
    header = [name.strip() for name in table[0]] if table else []
    if not ({"start", "end"} <= set(header) <= set(COLUMNS)) or len(header) < 3:
        problems.append(Problem(Position(str(file), 1, 1), f"got {lines[:1]}; {HEADER_TEXT}"))
        return None
    rows: list[Row] = []
    places = []
    for number, cells in enumerate(table[1:], 2):
        if len(cells) != len(header):
            message = f"got {len(cells)} values; expected {len(header)}."
            problems.append(Problem(Position(str(file), number, 1), message))
        else:
            rows.append({n: cell.strip() for n, cell in zip(header, cells, strict=True)})
            places.append(_places(file, number, header, cells))
    return _Rows(rows, str(file), places)


def _places(file: FilePath, line: int, header: list[str], cells: list[str]) -> dict[str, Position]:
    """Where each cell of a line begins, if none is quoted."""
    places, column = {"": Position(str(file), line, 1)}, 1
    for name, cell in zip(header, cells, strict=True):
        places[name] = Position(str(file), line, column)
        column += len(cell) + 1
    return places


def _read_yaml(file: FilePath, problems: list[Problem]) -> _Rows | None:
    documents, wrong = read_documents(file, dialect="scenario")
    problems += wrong
    if wrong:
        return None
    data = documents[0].data if len(documents) == 1 else None
    if not isinstance(data, list):
        message = "expected a list of outages such as {node: web-0, start: 1h, end: 2h}."
        problems.append(Problem(Position(str(file)), message))
        return None
    for number, row in enumerate(data):
        if not isinstance(row, dict) or not set(row) <= set(COLUMNS):
            message = f"got {shown(row)}; expected a mapping of node or zone, start and end."
            problems.append(Problem(documents[0].position(number), message, f"[{number}]"))
            return None
    return _Rows(data, str(file), document=documents[0])
