"""What losses do, the worst first, as text, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sim.errors import SimError, did_you_mean
from sim.report import text
from sim.report.values import (
    Column,
    Grid,
    Section,
    as_json,
    by_unit,
    count,
    duration,
    first_rows,
    many,
    percent,
    some,
    text_column,
)
from sim.units import format_duration_ms

if TYPE_CHECKING:
    from sim.cases import Case
    from sim.expectations import Verdict
    from sim.whatif import WhatIf

FORMATS = ("text", "md", "json")
MOST_ROWS = 20
MOST_TOLD = 5  # cases told in full
MOST_LINES = 6  # of a kind in such a case
REPLACED_MS = 400_000  # a lost node's pods are made anew some 5m 45s after the loss
LOST = {"node": "node", "zone": "zone", "2-nodes": "pair of nodes"}
SEVERAL = {"node": "nodes", "zone": "zones", "2-nodes": "pairs of nodes"}


def render(found: WhatIf, format: str = "text") -> str:
    """The outcome as a string; `format` is 'text', 'md' or 'json'."""
    if format == "json":
        return as_json(found.as_dict()) + "\n"
    if format not in FORMATS:
        raise SimError(
            f"no format {format!r}; expected one of {', '.join(FORMATS)}."
            f" {did_you_mean(format, FORMATS)}".rstrip()
        )
    write = text.markdown if format == "md" else text.plain
    return write(list(_sections(found)))


def _sections(found: WhatIf) -> Iterator[Section]:
    if found.search is not None:
        yield _search(found)
        if found.search.found is not None:
            yield _told(found.search.found, broken=False)
        return
    alike = _alike([case for case in found.cases if not case.harmless])
    yield Section(
        f"{found.scenario}: what if a {LOST[found.lose]} is lost?",
        (*_premises(found), *_losses(found, alike)),
    )
    yield from (_told(cases[0], len(cases) - 1) for cases in alike[:MOST_TOLD])


# Premises


def _premises(found: WhatIf) -> Iterator[str]:
    at, end = format_duration_ms(found.at_ms), format_duration_ms(found.end_ms)
    until = "to the end" if found.down_ms is None else f"for {format_duration_ms(found.down_ms)}"
    yield (
        f"Each loss is a run of its own, seed {found.seed}: lost at {at} {until} (the run ends at"
        f" {end}). Numbers are what the loss adds to the run without it."
    )
    yield from _own_trouble(found)
    yield _tried(found)
    left_ms = found.end_ms - found.at_ms
    if left_ms < REPLACED_MS:
        yield (
            f"The run ends {format_duration_ms(left_ms)} after the loss; pods of a lost node are"
            " by default replaced after 5m 40s to 6m only. An earlier --at shows what comes then."
        )


def _own_trouble(found: WhatIf) -> Iterator[str]:
    if found.own_faults:
        own = "fault happens" if found.own_faults == 1 else f"{found.own_faults} faults happen"
        yield f"The scenario's own {own} in every run too."
    failed = [verdict.text for verdict in found.base.verdicts if not verdict.passed]
    if failed:
        yield f"Without a loss already not met, and so not counted: {'; '.join(failed)}."
    waiting = sum(refused.at_end for refused in found.base.refused)
    if waiting:
        yield f"Without a loss {many(waiting, 'pod')} wait for a node at the end."


def _tried(found: WhatIf) -> str:
    choice, several = found.choice, SEVERAL[found.lose]
    tried, left = len(choice.losses), choice.of - len(choice.losses)
    if not left:
        return f"All {choice.of:,} {several} were tried." if tried > 1 else "There is only one."
    kinds = (
        f"each of the {choice.kinds:,} kinds (pool, zone, mix of workloads) at least once"
        if choice.kinds_tried == choice.kinds
        else f"{choice.kinds_tried:,} of {choice.kinds:,} kinds (pool, zone, mix of workloads)"
    )
    return (
        f"{tried:,} of {choice.of:,} {several} were tried, {kinds}, those first that take a"
        f" workload's last pods away; {left:,} were left out (--most)."
    )


# The table


def _alike(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases of one kind that broke the same things, in the order of the worst of each."""
    groups: dict[object, list[Case]] = {}
    for case in cases:
        key = (
            case.kind,
            case.error,
            tuple(verdict.text for verdict in case.broken),
            tuple((refused.workload, refused.at_end) for refused in case.refused),
            tuple((shortage.kind, shortage.name) for shortage in case.shortages),
        )
        groups.setdefault(key, []).append(case)
    return list(groups.values())


def _losses(found: WhatIf, alike: Sequence[Sequence[Case]]) -> Iterator[str | Grid]:
    harmless = [case.name for case in found.cases if case.harmless]
    if alike:
        yield _grid(alike)
    if any(len(cases) > 1 for cases in alike):
        yield (
            "With × stand several losses of one kind (pool, zone, mix of workloads) that do the"
            " same; all were run, and the numbers are those of the worst."
        )
    if harmless:
        several = SEVERAL[found.lose] if len(harmless) > 1 else LOST[found.lose]
        yield (
            f"{len(harmless):,} {'other ' if alike else ''}{several} can be lost and no pod waits,"
            f" nothing is short of pods and no request fails: {some(harmless)}."
        )


def _grid(alike: Sequence[Sequence[Case]]) -> Grid:
    """The worst of each; columns without anything in them are left out."""
    optional = [
        Column("refused", count, True),
        Column("to the end", count, True, bool),
        Column("outage", _time, True, bool),
        Column("budget short", _time, True, bool),
        Column("requests failed", _amount, True),
    ]
    numbers = [_numbers(cases[0]) for cases in alike]
    used = [place for place in range(len(optional)) if any(row[place] for row in numbers)]
    columns = [
        text_column("lost"),
        Column("pods", count, True),
        *(optional[place] for place in used),
        Column("restored after", str, True),
    ]
    rows = [
        (_name(cases), cases[0].pods, *(row[place] for place in used), _restored(cases[0]))
        for cases, row in zip(alike, numbers, strict=True)
    ]
    broken = [some([verdict.text for verdict in cases[0].broken], 1) for cases in alike]
    if any(broken):
        columns.append(text_column("breaks"))
        rows = [(*row, words) for row, words in zip(rows, broken, strict=True)]
    return first_rows(tuple(columns), rows, MOST_ROWS, "the JSON form")


def _name(cases: Sequence[Case]) -> str:
    return cases[0].name + (f" ×{len(cases)}" if len(cases) > 1 else "")


def _numbers(case: Case) -> tuple[float, ...]:
    return (
        case.waiting_most,
        case.waiting_at_end,
        case.short_ms("Service"),
        case.short_ms("PodDisruptionBudget"),
        case.requests_failed,
    )


def _restored(case: Case) -> str:
    if case.error:
        return "not run"
    return "not by the end" if case.missing else _time(case.recovered_ms or 0)


def _time(ms: float) -> str:
    return duration(ms / 1000) if ms else "-"


def _amount(requests: float) -> str:
    return count(requests) if requests else "-"


# One case


def _told(case: Case, alike: int = 0, *, broken: bool = True) -> Section:
    like = f" ({alike} more alike)" if alike else ""
    parts = [*(_broken(case) if broken else ()), *_refused(case), *_short(case), *_requests(case)]
    return Section(f"{case.name}{like}", (*parts, *_recovery(case)))


def _broken(case: Case) -> Iterator[str]:
    if case.error:
        yield f"Could not be run: {case.error}"
    for verdict in case.broken:
        yield f"Breaks {_found(verdict)}"


def _found(verdict: Verdict) -> str:
    return f"{verdict.text}: {verdict.note or _value(verdict)}"


def _value(verdict: Verdict) -> str:
    """With as many digits as tell it from the bound: 99.496 % where 99.5 % was expected."""
    bound = verdict.text.rpartition(" ")[2]
    if verdict.unit == "share" and bound.endswith("%"):
        for decimals in range(2, 7):
            shown = percent(verdict.value, decimals)
            if float(shown.removesuffix(" %")) != float(bound.removesuffix("%")):
                return shown
    return by_unit(verdict.value, verdict.unit)


def _refused(case: Case) -> Iterator[str]:
    worst = sorted(case.refused, key=lambda r: (-r.at_end, -r.most, r.workload))
    for refused in worst[:MOST_LINES]:
        ends = f"{refused.at_end} to the end" if refused.at_end else "all found a node later"
        pods = many(refused.most, "pod")
        yield f"{refused.workload}: {pods} refused a node ({ends}): {refused.reason}"
    if len(worst) > MOST_LINES:
        yield f"... and {len(worst) - MOST_LINES} more workloads; see the JSON form"


def _short(case: Case) -> Iterator[str]:
    worst = sorted(case.shortages, key=lambda s: (s.kind != "Service", -s.short_ms, s.name))
    for shortage in worst[:MOST_LINES]:
        lasted = duration(shortage.short_ms / 1000)
        if shortage.kind == "Service":
            yield f"Service {shortage.name}: no ready endpoint for {lasted}."
            continue
        services = f" (Service {', '.join(shortage.services)})" if shortage.services else ""
        yield (
            f"PodDisruptionBudget {shortage.name}{services}: below {shortage.wanted} healthy pods"
            f" for {lasted}, down to {shortage.lowest}."
        )
    if len(worst) > MOST_LINES:
        yield f"... and {len(worst) - MOST_LINES} more budgets and Services; see the JSON form"


def _requests(case: Case) -> Iterator[str]:
    if case.failed:
        worst = sorted(case.failed, key=lambda pair: (-pair[1], pair[0]))
        yield f"Requests failed: {some([f'{name} {_few(n)}' for name, n in worst], MOST_LINES)}."


def _few(requests: float) -> str:
    return count(round(requests, 1))


def _recovery(case: Case) -> Iterator[str]:
    if case.error:
        return
    lasting = " that can run" if case.waiting_at_end else ""
    if case.missing:
        yield f"Not all pods{lasting} were ready again by the end: {some(list(case.missing))}."
    elif case.recovered_ms:
        yield f"All pods{lasting} were ready again after {duration(case.recovered_ms / 1000)}."


# A search


def _search(found: WhatIf) -> Section:
    search, several = found.search, SEVERAL[found.lose]
    assert search is not None
    at = format_duration_ms(found.at_ms)
    until = "to the end" if found.down_ms is None else f"for {format_duration_ms(found.down_ms)}"
    title = f"{found.scenario}: the fewest {several} whose loss breaks an expectation"
    lines = [f"Lost together at {at} {until}, seed {found.seed}.", *_own_trouble(found)]
    if search.found is None:
        lines.append(f"None was found. {_how_far(found)}")
    else:
        size = search.looked[-1].size
        broken = "; ".join(map(_found, search.found.broken))
        lines.append(f"Found: {search.found.name}. Breaks {broken}")
        lines.append(f"No smaller set does. {_how_far(found)}" if size > 1 else _how_far(found))
    return Section(title, tuple(lines))


def _how_far(found: WhatIf) -> str:
    search = found.search
    assert search is not None
    told = [
        f"{'all ' if looked.tried == looked.of else ''}{looked.tried:,}"
        f"{'' if looked.tried == looked.of else f' of {looked.of:,}'}"
        f" {SEVERAL[found.lose] if looked.size == 1 else f'sets of {looked.size}'}"
        for looked in search.looked
    ]
    runs = sum(looked.tried for looked in search.looked)
    end = ""
    if search.found is None and runs >= search.most:
        end = f"; the budget of {search.most:,} runs is used up (--most)"
    errors = sum(bool(case.error) for case in found.cases)
    end += f"; {errors} could not be run" if errors else ""
    return f"Tried: {', '.join(told)}{end}."
