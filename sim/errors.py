"""Errors that a user can act on: where, what came, what was expected, the nearest valid choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; `line` and `column` count from 1, 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input.

    `field` is the path inside the document (`nodes[0].capacity.cpu`), `message` says what came
    and what was expected, `hint` names the nearest valid choice (or is empty).
    """

    position: Position
    message: str
    field: str = ""
    hint: str = ""

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.position}: {field}{self.message}{hint}"


class SimError(Exception):
    """A wrong use of the Python API, or a run that cannot go on."""


class ScenarioError(SimError):
    """Input that the user can fix; holds every problem found, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """`Did you mean 'NodeResourcesFit'?`, or an empty string when nothing is near."""
    candidates = {choice.lower(): choice for choice in valid}
    near = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.6)
    return f"Did you mean {candidates[near[0]]!r}?" if near else ""
