"""What a scenario expects of its numbers, checked against a result."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.errors import SimError
from sim.metrics import lookup

if TYPE_CHECKING:
    from sim.metrics import Tables
    from sim.result import RunInfo
    from sim.scenario import Expectation

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One expectation, the value the run gave, and whether it holds; `note` says why it cannot."""

    text: str
    value: float
    passed: bool
    note: str = ""


def check(
    expectations: Iterable[Expectation], tables: Tables, info: RunInfo
) -> tuple[Verdict, ...]:
    """One verdict per expectation, in their order.

    A number that is not defined (NaN) meets nothing, and neither does one that cannot be looked up.
    """
    return tuple(_verdict(expectation, tables, info) for expectation in expectations)


def _verdict(expectation: Expectation, tables: Tables, info: RunInfo) -> Verdict:
    try:
        value = lookup(tables, info, expectation.name, expectation.labels)
    except SimError as error:
        return Verdict(expectation.text, float("nan"), False, str(error))
    if value != value:
        return Verdict(expectation.text, value, False, "not defined in this run")
    return Verdict(
        expectation.text, value, OPERATORS[expectation.op](value, float(expectation.value))
    )
