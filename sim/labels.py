"""Labels and selectors: which objects a set of requirements picks.

Follows apimachinery pkg/labels/selector.go and pkg/apis/meta/v1 LabelSelector (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Labels = Mapping[str, str]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
OPERATORS: tuple[Operator, ...] = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


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

    @classmethod
    def of(cls, labels: Labels) -> Selector:
        """The selector that `matchLabels` (or a Service's `spec.selector`) stands for."""
        return cls(tuple(Requirement(key, "In", (labels[key],)) for key in sorted(labels)))


def _int64(text: str) -> int | None:
    """What strconv.ParseInt(text, 10, 64) reads, None where it refuses."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
