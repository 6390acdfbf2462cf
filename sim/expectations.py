"""What a scenario expects of its numbers, checked against the tables of a result."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.errors import SimError
from sim.metrics import lookup
from sim.schema import SUMMARY

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
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One expectation, the value the run gave in `unit`, and whether it holds.

    `note` says why there is no value.
    """

    text: str
    value: float
    passed: bool
    unit: str = ""
    note: str = ""


def check(
    expectations: Iterable[Expectation], tables: Tables, info: RunInfo
) -> tuple[Verdict, ...]:
    """One verdict per expectation, in their order.

    A number that is not defined (NaN) meets nothing, and neither does one about something that is
    not in the run.
    """
    return tuple(_verdict(expectation, tables, info) for expectation in expectations)


def _verdict(expectation: Expectation, tables: Tables, info: RunInfo) -> Verdict:
    unit = SUMMARY[expectation.name].unit if expectation.name in SUMMARY else ""
    try:
        value = lookup(tables, info, expectation.name, dict(expectation.labels))
    except SimError as error:
        return Verdict(expectation.text, math.nan, False, unit, str(error))
    if math.isnan(value):
        return Verdict(expectation.text, value, False, unit, "not defined in this run")
    holds = OPERATORS[expectation.op](value, expectation.value)
    return Verdict(expectation.text, value, holds, unit)
