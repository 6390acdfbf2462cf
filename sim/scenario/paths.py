"""Paths into a scenario, as messages print them and `--set` takes them: nodes[0].capacity.cpu."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sim.errors import did_you_mean
from sim.yamls import dotted, parse_documents

Path = tuple[str | int, ...]

_STEP = re.compile(r"""\.?([^.\[\]]+) | \[(\d+)\] | \[(?:"([^"]*)"|'([^']*)')\]""", re.VERBOSE)


def parse_path(text: str) -> Path:
    """The steps of `nodes[0].labels["topology.kubernetes.io/rack"]`; ValueError for bad text."""
    steps: list[str | int] = []
    end = 0
    while end < len(text):
        found = _STEP.match(text, end)
        if found is None or (end == 0 and text.startswith(".")):
            break
        name, index, *quoted = found.groups()
        steps.append(int(index) if index else next(t for t in (name, *quoted) if t is not None))
        end = found.end()
    if end < len(text) or not steps:
        raise ValueError(f"got the path {text!r}; expected one such as 'nodes[0].instanceType'.")
    return tuple(steps)


def parse_value(text: str) -> Any:
    """The value that `--set path=text` gives, read as it would be in a scenario file.

    ValueError(message, hint) for what is no YAML, or not the same to every reader of it.
    """
    if text.strip() in ("", "~", "null"):
        return None
    documents, problems = parse_documents(text, "--set", dialect="scenario")
    if problems:
        raise ValueError(problems[0].message, problems[0].hint)
    return documents[0].data if documents else None


def set_at(data: Any, path: Path, value: object) -> None:
    """Set the value at `path` in place, making mappings on the way; ValueError where none fits."""
    for depth, following in enumerate(path[1:], start=1):
        data = _below(data, path[:depth], {} if isinstance(following, str) else [])
    _check(data, path)
    data[path[-1]] = value


def remove_at(data: Any, path: Path) -> None:
    """Take the field at `path` out of its mapping, in place; items of lists stay."""
    for step in path[:-1]:
        try:
            data = data[step]
        except (LookupError, TypeError):
            return
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)


def _below(data: Any, path: Path, missing: object) -> Any:
    """What stands at the last step of `path` in `data`; `missing` is put there when nothing is."""
    _check(data, path)
    if isinstance(data, dict) and data.get(path[-1]) is None:
        data[path[-1]] = missing
    return data[path[-1]]


def _check(data: Any, path: Path) -> None:
    *before, last = path
    where = dotted(before) or "the scenario"
    if isinstance(last, str) and not isinstance(data, dict):
        raise ValueError(f"{where} is not a mapping, it has no {last!r}.")
    if isinstance(last, int) and not isinstance(data, list):
        raise ValueError(f"{where} is not a list, it has no [{last}].")
    if isinstance(last, int) and last >= len(data):
        raise ValueError(f"{where} has {len(data)} entries, it has no [{last}].")


def nearest_field(name: str, valid: Sequence[str]) -> str:
    """A hint for an unknown field."""
    return did_you_mean(name, valid) or f"Known here: {', '.join(sorted(valid))}."
