"""Verdicts: each operator at its edge, and what has no value meets nothing."""

import math
from types import SimpleNamespace

import pytest

from sim.expectations import OPERATORS, Verdict, check
from tests.unit.results import a_node, an_info, frames


def expect(name, op, value, **labels):
    text = f"{name} {op} {value}"
    return SimpleNamespace(text=text, name=name, labels=labels, op=op, value=value)


def verdict(expectation, **rows):
    (only,) = check([expectation], frames(**rows), an_info())
    return only


@pytest.mark.parametrize(
    ("op", "below", "equal", "above"),
    [
        (">=", True, True, False),
        ("<=", False, True, True),
        (">", True, False, False),
        ("<", False, False, True),
        ("==", False, True, False),
    ],
)
def test_operators_at_the_edge(op, below, equal, above):
    nodes = [a_node("n", cost_usd=2.0)]
    passed = [verdict(expect("cost", op, bound), nodes=nodes).passed for bound in (1.0, 2.0, 3.0)]
    assert passed == [below, equal, above]


def test_operators_are_those_of_scenarios():
    expressions = pytest.importorskip("sim.scenario.expressions")
    assert set(OPERATORS) == set(expressions.Operator.__args__)


def test_verdict_carries_text_value_and_unit():
    nodes = [a_node("n", cost_usd=2.0)]
    assert verdict(expect("cost", "<=", 3.0), nodes=nodes) == Verdict(
        "cost <= 3.0", 2.0, True, "USD"
    )


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_undefined_number_meets_nothing(op):
    result = verdict(expect("pending.seconds", op, 0.0))
    assert not result.passed
    assert math.isnan(result.value)
    assert result.note == "not defined in this run"


def test_expectation_about_something_unknown_fails_and_says_why():
    result = verdict(
        expect("availability", ">=", 0.0, service="shop/wbe"), services=[{"service": "shop/web"}]
    )
    assert not result.passed
    assert "Did you mean 'shop/web'?" in result.note


def test_verdicts_keep_the_order_of_expectations():
    asked = [expect("cost", ">=", 0.0), expect("pods", ">=", 1.0), expect("restarts", "==", 0.0)]
    verdicts = check(asked, frames(nodes=[a_node("n")]), an_info())
    assert [v.text for v in verdicts] == [e.text for e in asked]
    assert [v.passed for v in verdicts] == [True, False, True]
