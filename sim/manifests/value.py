"""A value inside a manifest: typed reading that notes problems with file, line and column.

Reading never raises: a value of the wrong kind is noted and its default is given, so that one pass
finds every problem. Like Go's JSON reader, null is the same as absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sim.errors import Position, Problem, did_you_mean
from sim.labels import (
    OPERATORS,
    Operator,
    Requirement,
    Selector,
    is_label_key,
    is_label_value,
)
from sim.podspec import CPU, Resources
from sim.units import amount, cpu_m, format_bytes, shown
from sim.workloads import IntOrPercent
from sim.yamls import Document, Step, dotted

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
# Far more than a machine has. Products with 100 (scores) and sums over a node's pods still
# fit into 64 bits, and floats hold such bytes exactly.
LARGEST_CPU_M = 10**12
LARGEST_AMOUNT = 2**53

_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_PART}(?:\.{_PART})*", re.ASCII)
_PERCENT = re.compile(r"[0-9]{1,9}%", re.ASCII)
_QUOTE = "Put it in quotes."


@dataclass(slots=True)
class Source:
    """Where an object comes from: its document, its place in it, the problems found so far."""

    document: Document | None = None
    root: tuple[Step, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def position(self, path: tuple[Step, ...], *, key: bool = False) -> Position:
        """The position of a value, or of its key."""
        if self.document is None:
            return Position("object")
        place = self.document.key_position if key else self.document.position
        return place(*self.root, *path)


@dataclass(frozen=True, slots=True)
class Value:
    """What stands at `path` of an object; `raw` is None when nothing does."""

    raw: Any
    source: Source
    path: tuple[Step, ...] = ()

    def __bool__(self) -> bool:
        return self.raw is not None

    def get(self, *names: str) -> Value:
        """The value below, through mappings; a missing one is an absent value, not a problem."""
        value = self
        for name in names:
            below = value.raw.get(name) if isinstance(value.raw, dict) else None
            value = Value(below, value.source, (*value.path, name))
        return value

    def problem(self, message: str, hint: str = "") -> None:
        """Note what is wrong with this value."""
        self.source.problems.append(self._problem(message, hint))

    def warning(self, message: str) -> None:
        """Note what is odd about this value and goes on nevertheless."""
        self.source.warnings.append(self._problem(message))

    def _problem(self, message: str, hint: str = "") -> Problem:
        field = dotted((*self.source.root, *self.path))
        return Problem(self.source.position(self.path), message, field, hint)

    def wrong(self, expected: str, hint: str = "") -> None:
        """Note that another value was expected."""
        got = f"got {shown(self.raw)}; expected" if self else "is missing; expected"
        self.problem(f"{got} {expected}{'.' if hint else ''}", hint)

    def mapping(self) -> dict[str, Any]:
        """The mapping, {} when absent."""
        if self and not isinstance(self.raw, dict):
            self.wrong("a mapping")
        return self.raw if isinstance(self.raw, dict) else {}

    def entries(self) -> list[tuple[str, Value]]:
        """Key and value of each entry of a mapping."""
        return [(key, self.get(key)) for key in self.mapping()]

    def items(self) -> list[Value]:
        """The items of a list, [] when absent."""
        if self and not isinstance(self.raw, list):
            self.wrong("a list")
        raw = self.raw if isinstance(self.raw, list) else []
        return [Value(item, self.source, (*self.path, i)) for i, item in enumerate(raw)]

    def text(self, default: str = "") -> str:
        """The text, `default` when absent."""
        if self and not isinstance(self.raw, str):
            self.wrong("text", "" if isinstance(self.raw, dict | list) else _QUOTE)
        return self.raw if isinstance(self.raw, str) else default

    def required_text(self) -> str:
        """The text, which must be there."""
        text = self.text()
        if not text and (not self or self.raw == ""):
            self.wrong("text")
        return text

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(item.text() for item in self.items())

    def one_of(self, choices: Iterable[str], default: str = "") -> str:
        """One of `choices`; absent and empty text give `default`, or a problem without one."""
        text = self.text(default) or default
        valid = tuple(choices)
        if text in valid:
            return text
        if not self or isinstance(self.raw, str):
            self.wrong(_listed(valid), did_you_mean(text, valid) if text else "")
        return default or valid[0]

    def boolean(self, default: bool = False) -> bool:
        """True or false."""
        if self and not isinstance(self.raw, bool):
            self.wrong("true or false")
        return self.raw if isinstance(self.raw, bool) else default

    def integer(self, default: int = 0, *, least: int = 0, most: int = INT32_MAX) -> int:
        """A whole number; 3.0 is one, as JSON does not tell them apart."""
        raw = self.raw
        if raw is None:
            return default
        whole = isinstance(raw, int) or (isinstance(raw, float) and raw.is_integer())
        if isinstance(raw, bool) or not whole:
            self.wrong("a whole number")
            return default
        if not least <= raw <= most:
            limit = f"of at least {least}" if raw < least else f"of at most {most}"
            self.wrong(f"a whole number {limit}")
            return default
        return int(raw)

    def int_or_percent(self) -> IntOrPercent | None:
        """A whole number or a percentage such as '25%'; None when absent."""
        if isinstance(self.raw, str):
            if _PERCENT.fullmatch(self.raw):
                return self.raw
            self.wrong("a whole number or a percentage such as '25%'")
            return None
        return self.integer() if self else None

    def text_map(self) -> dict[str, str]:
        """A mapping of texts, such as annotations."""
        return {key: value.text() for key, value in self.entries()}

    def labels(self) -> dict[str, str]:
        """Labels, or a map of labels to match (the checks are apimachinery's)."""
        for key, value in self.entries():
            if not is_label_key(key):
                value.problem(f"got {shown(key)}; expected a label key such as 'app' or 'a.io/app'")
            if isinstance(value.raw, str) and not is_label_value(value.raw):
                value.wrong("a label value: at most 63 of A-Z a-z 0-9 - _ .")
        return self.text_map()

    def name(self) -> str:
        """A name of an object (RFC 1123 subdomain)."""
        text = self.required_text()
        if text and not _NAME.fullmatch(text):
            self.wrong("a name: lower-case letters, digits, '-' and '.', starting with either")
        return text

    def resources(self) -> dict[str, int]:
        """Quantities by resource: cpu in millicores, the rest in units, rounded up."""
        return {name: value.quantity(name) for name, value in self.entries()}

    def quantity(self, resource: str) -> int:
        """The amount of a resource; 0 after a problem."""
        try:
            size = cpu_m(self.raw) if resource == CPU else amount(self.raw)
        except ValueError as error:
            self.problem(str(error))
            return 0
        most, text = largest(resource)
        if size > most:
            self.wrong(f"at most {text}")
            return 0
        return size

    def selector(self) -> Selector | None:
        """A label selector: None when absent, which matches nothing; an empty one matches all."""
        if not self:
            return None
        self.mapping()
        labels = self.get("matchLabels").labels()
        expressions = self.get("matchExpressions").items()
        listed = [e.requirement(("In", "NotIn", "Exists", "DoesNotExist")) for e in expressions]
        return Selector((*Selector.of(labels).requirements, *listed))

    def requirement(self, operators: Iterable[Operator] = OPERATORS) -> Requirement:
        """One expression of a selector (validation of NodeSelectorRequirement)."""
        self.mapping()
        operator: Operator = self.get("operator").one_of(operators)  # type: ignore[assignment]
        key, values = self.get("key").required_text(), self.get("values")
        texts = values.texts()
        if operator in ("In", "NotIn") and not texts:
            values.wrong(f"at least one value for {operator}")
        elif operator in ("Exists", "DoesNotExist") and texts:
            values.wrong(f"no values for {operator}")
        elif operator in ("Gt", "Lt") and not (len(texts) == 1 and _is_int64(texts[0])):
            values.wrong(f"one whole number in quotes for {operator}")
        return Requirement(key, operator, texts)


def largest(resource: str) -> tuple[int, str]:
    """The most of a resource that is taken, as a number and as a message writes it."""
    if resource == CPU:
        return LARGEST_CPU_M, f"{LARGEST_CPU_M // 1000} cores"
    return LARGEST_AMOUNT, format_bytes(LARGEST_AMOUNT)


def milliseconds(value: Value, default_s: int = 0, *, least: int = 0) -> int:
    """A number of seconds as milliseconds."""
    return value.integer(default_s, least=least, most=INT64_MAX // 10_000_000) * 1000


def positive(value: Value, default: int) -> int:
    """A whole number where 0 stands for the default, as Go's zero values do."""
    return value.integer(default) or default


def merged(first: Resources, defaults: Resources) -> dict[str, int]:
    """`first`, with what it does not name from `defaults`."""
    return {**first, **{name: size for name, size in defaults.items() if name not in first}}


def _is_int64(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return (
        digits.isascii() and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(text) < 2**63
    )


def _listed(choices: tuple[str, ...]) -> str:
    quoted = [f"'{choice}'" for choice in choices]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
