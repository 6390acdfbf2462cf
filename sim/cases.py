"""One loss: what it adds to the run without it.

Both runs are one and the same until the loss. What the run has without it too is not counted, and
neither is trouble of its own that only comes, or lasts, a little differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

from sim.losses import Loss, natural

if TYPE_CHECKING:
    from sim.aftermath import Aftermath, Refused, Shortage
    from sim.expectations import Verdict
    from sim.workers import Done

Span = tuple[float, float]  # from, until in ms
LAG_MS = 60_000  # trouble that a run has anyway may come or last so much differently


@dataclass(frozen=True, slots=True)
class Case:
    """What one loss adds to the run without it.

    `failed` are requests by Service, `broken` the expectations that hold without the loss only.
    `recovered_ms` is the time from the loss until all Deployments and ReplicaSets had the healthy
    pods again that can run; None where that did not happen, in the workloads `missing`.
    """

    name: str
    nodes: tuple[str, ...]
    pods: int  # on them at that moment
    kind: tuple[object, ...]
    refused: tuple[Refused, ...] = ()
    shortages: tuple[Shortage, ...] = ()
    failed: tuple[tuple[str, float], ...] = ()
    recovered_ms: int | None = None
    missing: tuple[str, ...] = ()
    broken: tuple[Verdict, ...] = ()
    error: str = ""  # why it could not be run

    @property
    def harmless(self) -> bool:
        """Whether nothing waited, fell short or failed."""
        return not (
            self.refused or self.shortages or self.failed or self.missing or self.broken
        ) and not (self.error or self.recovered_ms)

    @property
    def waiting_at_end(self) -> int:
        """Pods that wait for a node at the end of the run."""
        return sum(refused.at_end for refused in self.refused)

    @property
    def waiting_most(self) -> int:
        """Pods that waited, the most of each workload at once."""
        return sum(refused.most for refused in self.refused)

    def short_ms(self, kind: str) -> int:
        """For how long budgets, or Services, had too few pods, added up."""
        return sum(shortage.short_ms for shortage in self.shortages if shortage.kind == kind)

    @property
    def requests_failed(self) -> float:
        """Of all Services."""
        return sum(amount for _, amount in self.failed)

    @property
    def severity(self) -> tuple[Any, ...]:
        """Sorts the worst case first: by what could not be run, broken expectations, pods that
        wait at the end, outages, budgets, requests, pods that waited, time; then by name."""
        return (
            not self.error,
            -len(self.broken),
            -self.waiting_at_end,
            -self.short_ms("Service"),
            -self.short_ms("PodDisruptionBudget"),
            -self.requests_failed,
            -self.waiting_most,
            -(inf if self.recovered_ms is None else self.recovered_ms),
            natural(self.name),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, times in seconds."""
        return {
            "name": self.name,
            "nodes": list(self.nodes),
            "pods": self.pods,
            "error": self.error or None,
            "broken": [verdict_dict(verdict) for verdict in self.broken],
            "refused": [asdict(refused) for refused in self.refused],
            "short": [shortage_dict(shortage) for shortage in self.shortages],
            "requests_failed": dict(self.failed),
            "recovered_s": None if self.recovered_ms is None else self.recovered_ms / 1000,
            "missing": list(self.missing),
        }


def case_of(loss: Loss, done: Done[Aftermath], base: Aftermath, at_ms: int) -> Case:
    """What came of a loss at `at_ms`, beside the run without it."""
    case = Case(loss.name, loss.names, loss.pods, loss.kind, error=done.error)
    if done.answer is None:
        return case
    after = done.answer
    restored_ms, missing = _restored(after, base)
    return replace(
        case,
        refused=tuple(_more_refused(after, base)),
        shortages=tuple(_more_short(after, base)),
        failed=tuple(_more_failed(after, base)),
        recovered_ms=None if missing else max(int(restored_ms) - at_ms, 0),
        missing=missing,
        broken=tuple(
            now
            for now, before in zip(after.verdicts, base.verdicts, strict=True)
            if before.passed and not now.passed
        ),
    )


def _more_refused(after: Aftermath, base: Aftermath) -> Iterator[Refused]:
    without = {refused.workload: refused for refused in base.refused}
    for refused in after.refused:
        before = without.get(refused.workload)
        most = refused.most - (before.most if before else 0)
        at_end = refused.at_end - (before.at_end if before else 0)
        if most > 0 or at_end > 0:
            yield replace(refused, most=max(most, at_end), at_end=max(at_end, 0))


def _more_short(after: Aftermath, base: Aftermath) -> Iterator[Shortage]:
    without = {(shortage.kind, shortage.name): shortage.short_ms for shortage in base.shortages}
    for shortage in after.shortages:
        before_ms = without.get((shortage.kind, shortage.name), 0)
        more_ms = shortage.short_ms - before_ms
        if more_ms > (LAG_MS if before_ms else 0):
            yield replace(shortage, short_ms=more_ms)


def _more_failed(after: Aftermath, base: Aftermath) -> Iterator[tuple[str, float]]:
    for (name, amount), (_, before) in zip(after.failed, base.failed, strict=True):
        more = round(amount - before, 3)
        if more > 0:
            yield name, more


def _restored(after: Aftermath, base: Aftermath) -> tuple[float, tuple[str, ...]]:
    """When all workloads had the pods that can run, and those that never had.

    Pods that wait at the end cannot run. What is short without the loss too is not its doing.
    """
    waiting = {refused.workload: refused.at_end for refused in after.refused}
    without = {staffing.workload: staffing for staffing in base.staffing}
    last_ms, missing = 0.0, []
    for staffing in after.staffing:
        can_run = staffing.wanted - waiting.get(staffing.workload, 0)
        usual = without[staffing.workload].short(can_run) if staffing.workload in without else []
        until_ms = max(
            (span[1] for span in staffing.short(can_run) if _new(span, usual)), default=0
        )
        if until_ms == inf:
            missing.append(staffing.workload)
        else:
            last_ms = max(last_ms, until_ms)
    return last_ms, tuple(missing)


def _new(span: Span, usual: Iterable[Span]) -> bool:
    """Whether none of the usual spans holds this one, give or take a lag."""
    return not any(begin - LAG_MS <= span[0] and span[1] <= end + LAG_MS for begin, end in usual)


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    """Plain values."""
    values = {"expected": verdict.text, "value": verdict.value, "passed": verdict.passed}
    return values | ({"note": verdict.note} if verdict.note else {})


def shortage_dict(shortage: Shortage) -> dict[str, Any]:
    """Plain values, times in seconds."""
    values = asdict(shortage)
    return values | {"short_s": values.pop("short_ms") / 1000}
