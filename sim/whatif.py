"""The same run again and again, each time with other nodes lost: which loss hurts most?

All runs have the same seed and are one and the same until the loss (streams of random numbers have
names). What a case tells is therefore what the loss adds to the run without it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice, tee
from math import comb, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sim.actions import FailNodes, RecoverNodes
from sim.aftermath import Aftermath, Observer
from sim.cases import Case, case_of, shortage_dict, verdict_dict
from sim.engine import Simulation
from sim.errors import SimError, did_you_mean
from sim.losses import LOSE, Choice, Lose, Loss, choose, union
from sim.scenario import Scenario
from sim.units import duration_ms, format_duration_ms
from sim.workers import Spread, workers

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["text", "md", "json"]
Progress = Callable[[int, int], None]  # runs done, runs in all at most

MOST = 200  # runs with a loss
FOREVER = "forever"
FILES = ("what-if.json", "what-if.txt", "cases.parquet")


@dataclass(frozen=True, slots=True)
class Looked:
    """How many sets of one size a search has tried, of how many there are."""

    size: int
    tried: int
    of: int


@dataclass(frozen=True, slots=True)
class Search:
    """The smallest set of losses that breaks an expectation, None when none was found."""

    found: Case | None
    looked: tuple[Looked, ...]
    most: int


@dataclass(frozen=True, eq=False)
class WhatIf:
    """What `what_if` gives: every case that was run, the worst first.

    `base` is the run without a loss, `choice` what was tried of how many.
    """

    scenario: str
    seed: int
    lose: Lose
    at_ms: int
    down_ms: int | None
    end_ms: int
    own_faults: int  # of the scenario, in every run
    base: Aftermath
    choice: Choice
    cases: tuple[Case, ...]
    search: Search | None = None

    @property
    def breaks(self) -> bool:
        """Whether some loss breaks an expectation, or could not be run."""
        return any(case.broken or case.error for case in self.cases)

    @property
    def table(self) -> pd.DataFrame:
        """One row per case, the worst first."""
        import pandas as pd

        return pd.DataFrame([_row(case) for case in self.cases])

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        down_s = None if self.down_ms is None else self.down_ms / 1000
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "lose": self.lose,
            "at_s": self.at_ms / 1000,
            "down_s": down_s,
            "end_s": self.end_ms / 1000,
            "without_loss": {
                "refused": [asdict(refused) for refused in self.base.refused],
                "short": [shortage_dict(shortage) for shortage in self.base.shortages],
                "expectations": [verdict_dict(verdict) for verdict in self.base.verdicts],
            },
            "losses": {
                "possible": self.choice.of,
                "tried": len(self.choice.losses),
                "kinds": self.choice.kinds,
                "kinds_tried": self.choice.kinds_tried,
            },
            "cases": [case.as_dict() for case in self.cases],
            "search": None if self.search is None else _as_dict(self.search),
        }

    def report(self, format: Format = "text") -> str:
        """For people; 'json' has every case in full."""
        from sim.report import whatif

        return whatif.render(self, format)

    def __str__(self) -> str:
        return self.report()

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write what-if.json, what-if.txt and cases.parquet into `directory`; its path."""
        target = Path(directory).resolve()
        check_directory(target)
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".what-if.", dir=target) as fresh:
            _write(self, Path(fresh))
            for name in FILES:
                Path(fresh, name).replace(target / name)
        return target


def what_if(
    scenario: Scenario,
    lose: Lose = "node",
    *,
    at: str | None = None,
    down: str | None = None,
    jobs: int | None = None,
    search: bool = False,
    most: int = MOST,
    seed: int | None = None,
    progress: Progress | None = None,
) -> WhatIf:
    """Run the scenario with each node (zone, pair of nodes) lost in turn, `most` of them at most.

    They are lost `at` a moment ('30m'; by default in the middle of the run after the warm-up),
    and stay `down` for a duration or to the end of the run ('forever', the default).
    `jobs`: run in so many processes, with the same outcome. `search`: look for the smallest set of
    nodes (zones) whose loss breaks an expectation of the scenario.
    """
    plan = _plan(scenario, at, down, seed)
    _check(scenario, lose, search, most)
    base, choice = _without_loss(plan, lose, most)
    if search and not any(verdict.passed for verdict in base.verdicts):
        raise SimError("every expectation already fails without a loss; there is none to break")
    told = _Told(progress, most if search else len(choice.losses))
    try:
        with workers(partial(_with_loss, plan), jobs) as spread:
            cases = list(_cases(spread, choice.losses, base, plan, told))
            found = _searched(spread, choice, cases, base, plan, most, told) if search else None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Stopped after {told}; nothing was written.") from None
    return WhatIf(
        scenario=scenario.name,
        seed=plan.seed,
        lose=lose,
        at_ms=plan.at_ms,
        down_ms=plan.down_ms,
        end_ms=scenario.run.duration_ms,
        own_faults=len(scenario.faults),
        base=base,
        choice=choice,
        cases=tuple(sorted(cases, key=lambda case: case.severity)),
        search=found,
    )


# What is asked


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that the runs have in common; `scenario` gives it, in this process or in another."""

    scenario: Callable[[], Scenario]
    seed: int
    at_ms: int
    down_ms: int | None


def _plan(scenario: Scenario, at: str | None, down: str | None, seed: int | None) -> _Plan:
    if not isinstance(scenario, Scenario):
        raise SimError(f"got {scenario!r}; expected a Scenario, as sim.load(path) gives it")
    end_ms, begin_ms = scenario.run.duration_ms, scenario.run.warm_up_ms
    at_ms = (begin_ms + end_ms) // 2 if at is None else _duration("at", at)
    if at_ms >= end_ms:
        end = format_duration_ms(end_ms)
        raise SimError(f"at: got {format_duration_ms(at_ms)}; the run ends at {end}")
    down_ms = None if down in (None, FOREVER) else _duration("down", str(down))
    if down_ms == 0:
        raise SimError(f"down: got {down}; expected a duration such as 20m, or {FOREVER}")
    return _Plan(_maker(scenario), scenario.run.seed if seed is None else seed, at_ms, down_ms)


def _duration(name: str, text: str) -> int:
    try:
        return duration_ms(text)
    except ValueError as error:
        raise SimError(f"{name}: {error}") from None


def _maker(scenario: Scenario) -> Callable[[], Scenario]:
    """Gives the scenario in any process: plugins of the user's have to be loaded anew there."""
    if not scenario.allow_plugins:
        return partial(_same, scenario)
    source, base = dict(scenario.source), scenario.base.resolve()
    return partial(Scenario.from_dict, source, base, allow_plugins=True)


def _same(scenario: Scenario) -> Scenario:
    return scenario


def _check(scenario: Scenario, lose: Lose, search: bool, most: int) -> None:
    if lose not in LOSE:
        hint = did_you_mean(lose, LOSE)
        raise SimError(f"lose: got {lose!r}; expected one of {', '.join(LOSE)}. {hint}".rstrip())
    if most < 1:
        raise SimError(f"most: got {most}; expected 1 or more")
    if search and lose == "2-nodes":
        raise SimError("a search tries sets of every size by itself; expected lose node or zone")
    if search and not scenario.expect:
        raise SimError(
            f"a search looks for a loss that breaks an expectation, and {scenario.name} has no"
            " `expect:`; add a line such as `pending.end == 0`"
        )


class _Told:
    """Tells how many runs are over."""

    def __init__(self, progress: Progress | None, losses: int) -> None:
        self._progress = progress
        self._all = losses + 1
        self._done = 0
        self.one_more()  # the run without a loss

    def one_more(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(min(self._done, self._all), self._all)

    def __str__(self) -> str:
        return f"{self._done} of {self._all} runs"


# Runs


def _without_loss(plan: _Plan, lose: Lose, most: int) -> tuple[Aftermath, Choice]:
    """The run as it is; on the way, at the moment of the loss, what there is to lose."""
    simulation = Simulation(plan.scenario(), seed=plan.seed)
    observer = Observer(simulation, plan.at_ms)
    if plan.at_ms:
        simulation.clock.run(plan.at_ms)
    choice = choose(simulation.cluster, lose, most)
    return observer.aftermath(simulation.run()), choice


def _with_loss(plan: _Plan, nodes: tuple[int, ...]) -> Aftermath:
    simulation = Simulation(plan.scenario(), seed=plan.seed)
    observer = Observer(simulation, plan.at_ms)
    simulation.at(plan.at_ms, FailNodes(nodes))
    if plan.down_ms is not None:
        simulation.at(plan.at_ms + plan.down_ms, RecoverNodes(nodes))
    return observer.aftermath(simulation.run())


def _cases(
    spread: Spread[tuple[int, ...], Aftermath],
    losses: Iterable[Loss],
    base: Aftermath,
    plan: _Plan,
    told: _Told,
) -> Iterator[Case]:
    """The case of each loss, in their order, as they are asked for."""
    losses, ahead = tee(losses)
    for loss, done in zip(losses, spread(loss.nodes for loss in ahead), strict=True):
        told.one_more()
        yield case_of(loss, done, base, plan.at_ms)


# The smallest set that breaks something


def _searched(
    spread: Spread[tuple[int, ...], Aftermath],
    choice: Choice,
    cases: list[Case],
    base: Aftermath,
    plan: _Plan,
    most: int,
    told: _Told,
) -> Search:
    """Look among the single losses, then go on to larger sets; `cases` gets what is run."""
    looked = [Looked(1, len(cases), choice.of)]
    by_name = {loss.name: loss for loss in choice.losses}
    worst_first = sorted(cases, key=lambda case: case.severity)
    found = next((case for case in worst_first if case.broken), None)
    ranked = [by_name[case.name] for case in worst_first]
    budget, size = most - len(cases), 2
    while found is None and budget > 0 and len(cases) >= choice.of and size <= len(ranked):
        sets = islice(_sets(ranked, size), budget)
        tried = 0
        for case in _cases(spread, sets, base, plan, told):
            cases.append(case)
            tried += 1
            if case.broken:
                found = case
                break
        looked.append(Looked(size, tried, comb(len(ranked), size)))
        budget, size = budget - tried, size + 1
    return Search(found, tuple(looked), most)


def _sets(ranked: Sequence[Loss], size: int) -> Iterator[Loss]:
    """All sets of so many losses, those of the worst single ones first."""
    lowest, highest = size * (size - 1) // 2, size * (2 * len(ranked) - size - 1) // 2
    for total in range(lowest, highest + 1):
        for places in _with_sum(total, size, 0, len(ranked)):
            yield union([ranked[place] for place in places])


def _with_sum(total: int, size: int, least: int, count: int) -> Iterator[tuple[int, ...]]:
    """Ascending tuples of so many different numbers from `least` to `count` - 1 with this sum."""
    if size == 1:
        if least <= total < count:
            yield (total,)
        return
    rest = size - 1
    for first in range(least, count - rest):
        lowest = rest * (first + 1) + rest * (rest - 1) // 2
        highest = rest * (2 * count - rest - 1) // 2
        if total - first < lowest:
            return
        if total - first <= highest:
            for others in _with_sum(total - first, rest, first + 1, count):
                yield (first, *others)


# Plain values and files


def _as_dict(search: Search) -> dict[str, Any]:
    return {
        "found": None if search.found is None else search.found.as_dict(),
        "looked": [asdict(looked) for looked in search.looked],
        "most": search.most,
    }


def _row(case: Case) -> dict[str, Any]:
    return {
        "case": case.name,
        "pods": case.pods,
        "broken": "; ".join(verdict.text for verdict in case.broken),
        "waiting_end": case.waiting_at_end,
        "waiting_most": case.waiting_most,
        "refused": "; ".join(refused.workload for refused in case.refused),
        "outage_s": case.short_ms("Service") / 1000,
        "budget_short_s": case.short_ms("PodDisruptionBudget") / 1000,
        "requests_failed": case.requests_failed,
        "recovered_s": nan if case.recovered_ms is None else case.recovered_ms / 1000,
        "error": case.error,
    }


def check_directory(target: Path) -> None:
    """Only nothing, or a directory with nothing but what `save` writes, is written to."""
    if not target.exists():
        return
    if not target.is_dir():
        raise SimError(f"{target}: is a file; a directory was expected")
    others = sorted({path.name for path in target.iterdir()} - {*FILES})
    if others:
        raise SimError(f"{target}: holds {', '.join(others[:3])}; choose another directory")


def _write(found: WhatIf, directory: Path) -> None:
    import duckdb

    (directory / "what-if.json").write_text(found.report("json"), encoding="utf-8")
    (directory / "what-if.txt").write_text(found.report(), encoding="utf-8")
    with duckdb.connect(config={"threads": 1}) as connection:  # one thread keeps the bytes equal
        connection.register("cases", found.table)
        path = str(directory / "cases.parquet").replace("'", "''")
        connection.execute(f"COPY cases TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
