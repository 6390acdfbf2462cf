"""What a run is expected to give: `availability{service="shop/frontend"} >= 99.5%`.

    expectation = name [ "{" label "=" '"' value '"' { "," ... } "}" ] op number [ unit ]

Names and labels are those of sim.schema.SUMMARY. The value is held in the unit of its name: shares
as fractions of one, times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from sim import units
from sim.errors import did_you_mean
from sim.schema import SUMMARY, SummaryName

Operator = Literal[">=", "<=", ">", "<", "=="]

_EXPECTATION = re.compile(
    r"""\s* (?P<name>[\w.]+) \s* (?:\{(?P<labels>[^}]*)\})? \s*
        (?P<op>>=|<=|==|>|<) \s* (?P<value>\S.*?) \s*""",
    re.VERBOSE,
)
_LABEL = re.compile(r'\s*(\w+)\s*=\s*"([^"]*)"\s*')
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(.*)")
# How large a share can be without being taken for a percentage whose sign was forgotten.
_LARGEST_SHARE = 1.0
_WORDS = {"pods": ("pods", "pod"), "USD": ("USD", "usd", "$"), "count": (), "ratio": ("x",)}


@dataclass(frozen=True)
class Expectation:
    """One line of `expect`."""

    text: str
    name: str
    labels: Mapping[str, str] = field(hash=False)
    op: Operator
    value: float


def parse_expectation(text: str) -> Expectation:
    """The expectation that `text` stands for; ValueError(message, hint) when it stands for none."""
    found = _EXPECTATION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"got {text!r}; expected `name op value` with op one of >= <= > < ==,"
            " such as 'stranded.cpu <= 10%'."
        )
    row = SUMMARY.get(found["name"])
    if row is None:
        raise ValueError(
            f"no summary name {found['name']!r}.", did_you_mean(found["name"], SUMMARY)
        )
    return Expectation(
        text=text.strip(),
        name=row.name,
        labels=_labels(found["labels"], row),
        op=cast(Operator, found["op"]),
        value=_value(found["value"], row),
    )


def _labels(text: str | None, row: SummaryName) -> dict[str, str]:
    labels = dict(_label(part, row) for part in (text or "").split(",") if part.strip())
    if row.needs_label and len(labels) != 1:
        kinds = " or ".join(f'{row.name}{{{label}="..."}}' for label in row.labels)
        raise ValueError(f"{row.name} needs one label; expected {kinds}.")
    return labels


def _label(text: str, row: SummaryName) -> tuple[str, str]:
    found = _LABEL.fullmatch(text)
    if found is None:
        raise ValueError(f'got the label {text.strip()!r}; expected label="value".')
    label, value = found.groups()
    if label not in row.labels:
        valid = ", ".join(row.labels) or "none"
        message = f"{row.name} has no label {label!r}; expected one of: {valid}."
        raise ValueError(message, did_you_mean(label, row.labels))
    return label, value


def _value(text: str, row: SummaryName) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(f"got the value {text!r}; expected {_wanted(row)}.")
    number, unit = float(found[1]), found[2]
    if row.unit == "share":
        return _share(number, unit, text, row)
    if row.unit == "s" and unit:
        try:
            return units.duration_ms(text.replace(" ", "")) / 1000
        except ValueError:
            raise ValueError(f"got the value {text!r}; expected {_wanted(row)}.") from None
    if row.unit == "ratio" and unit == "%":
        return number / 100
    if unit and unit not in _WORDS.get(row.unit, ()):
        raise ValueError(f"got the value {text!r}; expected {_wanted(row)}.")
    return number


def _share(number: float, unit: str, text: str, row: SummaryName) -> float:
    if unit == "%":
        return number / 100
    if unit or number > _LARGEST_SHARE:
        raise ValueError(f"got the value {text!r}; expected {_wanted(row)}.")
    return number


def _wanted(row: SummaryName) -> str:
    return {
        "share": "a share such as '99.5%' or 0.995",
        "ratio": "a ratio such as 1.5 or '150%'",
        "s": "a time such as '30s' or '5m'",
        "pods": "a number of pods",
        "count": "a number",
        "USD": "an amount in USD such as '12.50 USD'",
    }[row.unit]
