"""The same work under several schedulers, side by side, with the same random numbers.

Each scenario is run with the same seeds. Streams of random numbers have names, so what arrives and
how long it runs is the same in all of them as far as they let it be (common random numbers), and
differences are taken seed by seed (paired).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sim.engine import run
from sim.errors import SimError
from sim.tables import Floats

if TYPE_CHECKING:
    import pandas as pd

    from sim.result import Result
    from sim.scenario import Scenario

Format = Literal["text", "md", "json"]
Unit = Literal["share", "count", "s", "USD"]
Progress = Callable[[int, int], None]  # runs done, runs in all

CONFIDENCE = 0.95
Z = 1.959963984540054  # of the normal distribution, 97.5 %
T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)  # by freedom, from 1


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of the table; most are summary numbers of a result, by that name."""

    name: str
    unit: Unit
    meaning: str
    of: Callable[[Result], float] | None = None

    def read(self, result: Result) -> float:
        """Its value for one run."""
        return float(result.summary[self.name] if self.of is None else self.of(result))


@dataclass(frozen=True, slots=True)
class Difference:
    """A variant less the first one: mean over the seeds, and half the width of its 95 % interval.

    `half_width` is NaN for a single seed.
    """

    mean: float
    half_width: float

    @property
    def holds_zero(self) -> bool:
        """Whether the interval does not tell the two apart."""
        return not abs(self.mean) > self.half_width


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` gives.

    `table` has a row per measure and a column per variant (means over the seeds), and for each
    variant but the first its difference and half the width of the interval. `runs` has a row per
    seed and variant. `moved` lists the pods that are not on the same node in all variants with the
    first seed, '' where a pod found no node, None where it never existed.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    table: pd.DataFrame
    runs: pd.DataFrame
    moved: pd.DataFrame
    pods: int  # that exist in all variants with the first seed
    differences: Mapping[tuple[str, str], Difference]  # by measure and variant

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "variants": list(self.names),
            "seeds": list(self.seeds),
            "confidence": CONFIDENCE,
            "measures": [self._measure(measure) for measure in MEASURES],
            "pods": self.pods,
            "placed_differently": self.moved.astype(object)
            .where(self.moved.notna(), None)
            .to_dict("records"),
        }

    def _measure(self, measure: Measure) -> dict[str, Any]:
        row = self.table.loc[measure.name]
        return {
            "name": measure.name,
            "unit": measure.unit,
            "meaning": measure.meaning,
            "values": {name: row[name] for name in self.names},
            "differences": {
                name: {
                    "mean": (found := self.differences[measure.name, name]).mean,
                    "half_width": found.half_width,
                    "holds_zero": found.holds_zero,
                }
                for name in self.names[1:]
            },
        }

    def report(self, format: Format = "text") -> str:
        """For people; 'json' has every pod that is placed differently."""
        from sim.report import comparison

        return comparison.render(self, MEASURES, format)

    def __str__(self) -> str:
        return self.report()


def compare(
    scenarios: Mapping[str, Scenario] | Iterable[Scenario],
    *,
    seed: int | None = None,
    replications: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Run the scenarios with the same seeds and put them side by side; the first is the baseline.

    Seeds are `seed` (by default that of the first scenario) and the numbers after it. Scenarios of
    a list go by their names, by A, B, ... where these are not all different.
    """
    named = _named(scenarios)
    if replications < 1:
        raise SimError(f"got {replications} replications; expected 1 or more")
    names = tuple(named)
    first = named[names[0]].run.seed if seed is None else seed
    seeds = tuple(range(first, first + replications))
    values = np.zeros((len(seeds), len(names), len(MEASURES)))
    placed: dict[str, dict[str, str]] = {}
    for i, number in enumerate(seeds):
        for j, name in enumerate(names):
            result = run(_recording(named[name]), seed=number)
            values[i, j] = [measure.read(result) for measure in MEASURES]
            if i == 0:
                placed[name] = _placements(result)
            if progress is not None:
                progress(i * len(names) + j + 1, len(seeds) * len(names))
    return _comparison(names, seeds, values, placed)


def _named(scenarios: Mapping[str, Scenario] | Iterable[Scenario]) -> dict[str, Scenario]:
    if isinstance(scenarios, Mapping):
        named = dict(scenarios)
    else:
        given = list(scenarios)
        names = [scenario.name for scenario in given]
        if len(set(names)) < len(names):
            names = [_letter(place) for place in range(len(given))]
        named = dict(zip(names, given, strict=True))
    if len(named) < 2:
        raise SimError(f"got {len(named)} scenarios; expected two or more to compare")
    return named


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"{place + 1}"


def _recording(scenario: Scenario) -> Scenario:
    """The scenario with its scheduling attempts recorded, which changes nothing else."""
    scheduler = scenario.scheduler.model_copy(update={"record": True})
    return replace(scenario, scheduler=scheduler)


def _placements(result: Result) -> dict[str, str]:
    """The node of each pod, '' without one, by `namespace/name`."""
    pods = result.pods
    return dict(zip(pods["namespace"] + "/" + pods["pod"], pods["node"], strict=True))


# Tables


def _comparison(
    names: tuple[str, ...],
    seeds: tuple[int, ...],
    values: Floats,
    placed: Mapping[str, Mapping[str, str]],
) -> Comparison:
    import pandas as pd

    measures = [measure.name for measure in MEASURES]
    columns: dict[str, Any] = {n: values[:, j].mean(axis=0) for j, n in enumerate(names)}
    differences: dict[tuple[str, str], Difference] = {}
    for j, name in enumerate(names[1:], 1):
        found = [difference(values[:, j, k] - values[:, 0, k]) for k in range(len(measures))]
        differences |= {(m, name): d for m, d in zip(measures, found, strict=True)}
        columns[f"{name} - {names[0]}"] = [d.mean for d in found]
        columns[f"{name} ±"] = [d.half_width for d in found]
    rows = [
        {"seed": number, "variant": name, **dict(zip(measures, values[i, j].tolist(), strict=True))}
        for i, number in enumerate(seeds)
        for j, name in enumerate(names)
    ]
    table = pd.DataFrame(columns, index=pd.Index(measures, name="measure"))
    keys = set.intersection(*(set(of) for of in placed.values()))
    return Comparison(
        names, seeds, table, pd.DataFrame(rows), _moved(names, placed), len(keys), differences
    )


def _moved(names: tuple[str, ...], placed: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Pods that are not on the same node everywhere, in order of creation in the first variant."""
    import pandas as pd

    keys = dict.fromkeys(key for name in names for key in placed[name])
    rows = [(key, *(placed[name].get(key) for name in names)) for key in keys]
    kept = [row for row in rows if len(set(row[1:])) > 1]
    return pd.DataFrame(kept, columns=["pod", *names], dtype=object)


def difference(values: Sequence[float] | Floats) -> Difference:
    """Mean of paired differences and half the width of its 95 % interval (Student's t)."""
    found = np.asarray(values, dtype=np.float64)
    mean, count = float(found.mean()), len(found)
    if count < 2:
        return Difference(mean, math.nan)
    error = float(found.std(ddof=1)) / math.sqrt(count)
    return Difference(mean, student_t(count - 1) * error)


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5 from 10 degrees on)."""
    if freedom <= len(T):
        return T[freedom - 1]
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + sum(term / float(freedom) ** (k + 1) for k, term in enumerate(terms))


# Measures


def _pod_seconds(result: Result) -> float:
    return float(result.pods["wait_s"].sum())


def _balance(column: str) -> Callable[[Result], float]:
    return lambda result: float(result.nodes[column].std(ddof=0))


def nodes_used(result: Result) -> float:
    """Nodes with a pod on them, averaged over the time after the warm-up."""
    begin_s, end_s = result.info.warm_up_s, result.info.duration_s
    pods = result.pods[result.pods["node"] != ""]
    until_s = pods["finished_s"].fillna(end_s).clip(lower=begin_s, upper=end_s)
    since_s = pods["scheduled_s"].clip(lower=begin_s, upper=end_s)
    spans = sorted(zip(pods["node"], since_s, until_s, strict=True))
    used_s, node, covered_s = 0.0, "", begin_s
    for name, since, until in spans:
        if name != node:
            node, covered_s = name, begin_s
        used_s += max(0.0, float(until) - max(float(since), covered_s))
        covered_s = max(covered_s, float(until))
    return used_s / (end_s - begin_s) if end_s > begin_s else math.nan


def _attempts(result: Result) -> float:
    return float(len(result.decisions))


def _failed_attempts(result: Result) -> float:
    return float((result.decisions["node"] == "").sum())


def _cost(result: Result) -> float:
    """NaN where no node has a price: that costs something, but nobody knows what."""
    priced = bool((result.nodes["price_usd_per_hour"] > 0).any())
    return float(result.summary["cost"]) if priced else math.nan


AFTER = "time average after the warm-up"
MEASURES = (
    Measure("pending.end", "count", "pods waiting for a node at the end"),
    Measure("pending.podSeconds", "s", "time that pods waited, summed over pods", _pod_seconds),
    Measure("pending.seconds.p95", "s", "95th percentile of a pod's wait"),
    Measure("preemptions", "count", "pods that gave way to more important ones"),
    Measure("attempts", "count", "scheduling attempts", _attempts),
    Measure("attempts.failed", "count", "of these without a node", _failed_attempts),
    Measure("requested.cpu", "share", f"requested / allocatable, {AFTER}"),
    Measure("requested.memory", "share", f"requested / allocatable, {AFTER}"),
    Measure("utilization.cpu", "share", f"used / allocatable, {AFTER}"),
    Measure("utilization.memory", "share", f"used / allocatable, {AFTER}"),
    Measure("stranded.cpu", "share", f"free but useless / allocatable, {AFTER}"),
    Measure("stranded.memory", "share", f"free but useless / allocatable, {AFTER}"),
    Measure(
        "balance.cpu",
        "share",
        "standard deviation over nodes of requested / allocatable, each averaged over time",
        _balance("requested_cpu"),
    ),
    Measure("balance.memory", "share", "the same for memory", _balance("requested_memory")),
    Measure("nodes.used", "count", f"nodes with a pod, {AFTER}", nodes_used),
    Measure("cost", "USD", "nodes' list price over the whole run", _cost),
)
