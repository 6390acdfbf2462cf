"""Labels and selectors: which objects a set of requirements picks.

Follows apimachinery pkg/labels/selector.go, pkg/util/validation and pkg/apis/meta/v1
LabelSelector (v1.34.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Labels = Mapping[str, str]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
OPERATORS: tuple[Operator, ...] = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_KEY = re.compile(rf"(?:(?=.{{1,253}}/){_PART}(?:\.{_PART})*/)?{_NAME}", re.ASCII)
_VALUE = re.compile(rf"(?:{_NAME})?", re.ASCII)
_WORD = r"[^\s,()=!<>]+"
_PRESENCE = re.compile(rf"\s*(!?)\s*({_WORD})\s*")
_SET = re.compile(rf"\s*({_WORD})\s+(in|notin)\s*\(([^()]*)\)\s*")
_COMPARISON = re.compile(rf"\s*({_WORD})\s*(==|=|!=|>|<)\s*({_WORD}|)\s*")
_OPERATOR: dict[str, Operator] = {
    **{"": "Exists", "!": "DoesNotExist", "in": "In", "notin": "NotIn"},
    **{"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"},
}
_WRITTEN: dict[Operator, str] = {
    **{"In": "{} in ({})", "NotIn": "{} notin ({})", "Exists": "{}", "DoesNotExist": "!{}"},
    **{"Gt": "{}>{}", "Lt": "{}<{}"},
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression of a selector, such as `tier In (web, api)`."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether `labels` meet it; `NotIn` and `DoesNotExist` hold when the key is absent."""
        value = labels.get(self.key)
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return value is not None and self._compares(value)

    def __str__(self) -> str:
        """As kubectl takes it: 'app=web', 'tier in (api, web)', '!canary', 'cores>8'."""
        values = ", ".join(self.values)
        if self.operator in ("In", "NotIn") and len(self.values) == 1:
            return f"{self.key}{'=' if self.operator == 'In' else '!='}{values}"
        return _WRITTEN[self.operator].format(self.key, values)

    def _compares(self, value: str) -> bool:
        """`Gt` and `Lt` compare integers; what does not parse as one does not match."""
        number, bound = _int64(value), _int64(self.values[0]) if len(self.values) == 1 else None
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "Gt" else number < bound


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements together; without any it matches everything.

    A missing selector (None) and an empty one differ in Kubernetes: the first matches nothing.
    """

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether `labels` meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        """The requirements with commas between them; 'everything' without any."""
        return ", ".join(map(str, self.requirements)) or "everything"

    @classmethod
    def of(cls, labels: Labels) -> Selector:
        """The selector that `matchLabels` (or a Service's `spec.selector`) stands for."""
        return cls(tuple(Requirement(key, "In", (labels[key],)) for key in sorted(labels)))

    @classmethod
    def parse(cls, text: str) -> Selector:
        """The selector written as text, such as `tier in (web, api),!canary`, sorted by key.

        ValueError says which part is wrong. Nothing at all selects everything (labels.Parse).
        """
        parts = re.split(r",(?![^(]*\))", text) if text.strip() else []
        return cls(tuple(sorted((_parsed(part) for part in parts), key=lambda r: r.key)))


def is_label_key(text: str) -> bool:
    """Whether `text` may be a key of a label: a name, perhaps after a domain and a slash."""
    return _KEY.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Whether `text` may be a value of a label: up to 63 letters, digits, `-`, `_` and `.`."""
    return _VALUE.fullmatch(text) is not None


def _parsed(text: str) -> Requirement:
    key, sign, values = _pieces(text)
    operator = _OPERATOR[sign]
    numeric = operator not in ("Gt", "Lt") or _int64(values[0]) is not None
    if not (numeric and is_label_key(key) and all(map(is_label_value, values))):
        raise ValueError(
            f"got {text[:80]!r}; expected a part such as 'app=web' or 'tier in (a, b)'"
        )
    return Requirement(key, operator, values)


def _pieces(text: str) -> tuple[str, str, tuple[str, ...]]:
    """(key, sign, sorted values) of one requirement; the key is "" for what is none."""
    if match := _PRESENCE.fullmatch(text):
        return match[2], match[1], ()
    if match := _SET.fullmatch(text):
        return match[1], match[2], tuple(sorted({word.strip() for word in match[3].split(",")}))
    if match := _COMPARISON.fullmatch(text):
        return match[1], match[2], (match[3],)
    return "", "", ()


def _int64(text: str) -> int | None:
    """What strconv.ParseInt(text, 10, 64) reads, None where it refuses."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    if len(digits.lstrip("0")) > 19:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
