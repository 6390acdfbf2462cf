"""Sections on what came of it: expectations, availability, failures, waiting pods, restarts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sim.metrics import workload_names
from sim.report.values import (
    Grid,
    Section,
    availability,
    by_unit,
    count,
    duration,
    many,
    number,
    some,
    text_column,
)

if TYPE_CHECKING:
    import pandas as pd

    from sim.result import Result

ROWS = 8  # most rows of a grid in a report
NOTICEABLE_S = 1.0  # a shorter wait for a node is the scheduler's ordinary pace


def headline(result: Result) -> Section:
    """What was asked, how big the run was, and whether the expectations hold."""
    info = result.info
    parts: list[str | Grid] = [info.question] if info.question else []
    parts.append(_setting(result))
    parts.append(_size(result))
    if result.verdicts:
        held = sum(verdict.passed for verdict in result.verdicts)
        parts.append(f"{held} of {many(len(result.verdicts), 'expectation')} met:")
        parts.append(_verdicts(result))
    return Section(info.name, tuple(parts))


def _setting(result: Result) -> str:
    info = result.info
    start = info.start.replace("T", " ").replace("Z", " UTC").replace(":00 UTC", " UTC")
    warm_up = f" after {duration(info.warm_up_s)} of warm-up" * (info.warm_up_s > 0)
    return (
        f"{duration(info.duration_s)} from {start}, counted{warm_up or ' from the start'};"
        f" Kubernetes {info.kubernetes}, seed {info.seed}"
    )


def _size(result: Result) -> str:
    numbers = {name: int(result.summary[name]) for name in COUNTS}
    incidents = [
        many(numbers[name], *words) for name, words in INCIDENTS.items() if numbers[name] > 0
    ]
    return (
        f"{many(len(result.nodes), 'node')}; {many(numbers['pods'], 'pod')},"
        f" {numbers['pods.running']:,} running and {numbers['pending.end']:,} waiting at the end; "
        + (", ".join(incidents) or "no evictions, no restarts")
    )


INCIDENTS = {
    "evictions": ("eviction",),
    "preemptions": ("preemption",),
    "restarts": ("container restart",),
    "oomKills": ("OOM kill",),
}
COUNTS = ("pods", "pods.running", "pending.end", *INCIDENTS)


def _verdicts(result: Result) -> Grid:
    columns = (
        number("", str, bad=lambda word: word == "FAILED"),
        text_column("expected"),
        text_column("found"),
    )
    rows = tuple(
        ("ok" if v.passed else "FAILED", v.text, v.note or by_unit(v.value, v.unit))
        for v in result.verdicts
    )
    return Grid(columns, rows)


def available(result: Result) -> Section:
    """Services and workloads, the worst first."""
    parts: list[str | Grid] = []
    if len(result.services):
        parts.append(_services(result.services))
    watched = result.workloads[result.workloads["availability"].notna()]
    short = watched[watched["unavailable_s"] > 0]
    if len(short):
        parts.append(_short_workloads(short))
    if len(watched) > len(short):
        others = "other workloads" if len(short) else "workloads"
        well = many(len(watched) - len(short), others[:-1], others)
        parts.append(f"{well} had enough ready pods all the time.")
    return Section("Availability", tuple(parts))


def _services(services: pd.DataFrame) -> Grid:
    worst = services.sort_values(["availability", "service"], kind="stable").head(ROWS)
    columns = (
        text_column("service"),
        number("answered", availability, lambda share: share < 0.99),
        number("requests", count),
        number("failed", count),
        number("some failed for", duration),
        number("all failed for", duration, lambda seconds: seconds > 0),
        number("ready", count, lambda ready: ready == 0),
    )
    names = ["service", "availability", "requests_sent", "requests_failed", "error_s", "outage_s"]
    return Grid(columns, _rows(worst, [*names, "ready"]))


def _short_workloads(short: pd.DataFrame) -> Grid:
    worst = short.sort_values("availability", kind="stable").head(ROWS)
    columns = (
        text_column("workload short of pods"),
        number("available", availability, lambda share: share < 0.99),
        number("short for", duration),
        number("minimum", count),
        number("ready", count),
        number("wanted", count),
    )
    rows = _rows(worst, ["availability", "unavailable_s", "minimum", "ready", "wanted"])
    names = workload_names(worst)
    return Grid(columns, tuple((name, *row) for name, row in zip(names, rows, strict=True)))


def waiting(result: Result) -> Section:
    """Pods that waited for a node, and why."""
    pods = result.pods
    slow = pods[(pods["wait_s"] >= NOTICEABLE_S) | _waits(pods)]
    if not len(slow):
        return Section("Pods waiting for a node", ())
    n = result.summary
    line = (
        f"At most {many(int(n['pending.count']), 'pod')} waited at once,"
        f" {int(n['pending.end']):,} at the end."
        f" Half of all pods waited at most {duration(n['pending.seconds.p50'])},"
        f" 95 % at most {duration(n['pending.seconds.p95'])},"
        f" the longest {duration(n['pending.seconds.max'])}."
    )
    return Section("Pods waiting for a node", (line, _why_waiting(result, slow)))


def _waits(pods: pd.DataFrame) -> pd.Series[bool]:
    return pods["scheduled_s"].isna() & pods["finished_s"].isna()


def _why_waiting(result: Result, slow: pd.DataFrame) -> Grid:
    messages = _last_refusals(result.events)
    rows = []
    for (namespace, workload), group in slow.groupby(["namespace", "workload"], sort=False):
        said = (messages.get(f"Pod/{namespace}/{pod}", "") for pod in group["pod"])
        reasons = Counter(message for message in said if message)
        why = reasons.most_common(1)[0][0] if reasons else "no refusal: it waited for its turn"
        still = int(_waits(group).sum())
        rows.append((f"{namespace}/{workload}", len(group), still, group["wait_s"].max(), why))
    rows.sort(key=lambda row: (-row[2], -row[3], row[0]))
    columns = (
        text_column("workload"),
        number("waited", count),
        number("still", count, lambda still: still > 0),
        number("longest", duration),
        text_column("the scheduler's reason, most often"),
    )
    return Grid(columns, tuple(rows[:ROWS]))


def _last_refusals(events: pd.DataFrame) -> dict[str, str]:
    refused = events[events["reason"] == "FailedScheduling"]
    return {
        pod: message.partition(" preemption:")[0]  # the rest is about victims
        for pod, message in zip(refused["object"], refused["message"], strict=True)
    }


def restarts(result: Result) -> Section:
    """Workloads whose containers restarted or were killed for memory, and why."""
    pods = result.pods
    hit = pods[(pods["restarts"] > 0) | (pods["oom_kills"] > 0)]
    if not len(hit):
        return Section("Restarts and OOM kills", ())
    reasons = _why_restarted(result.events)
    rows = []
    for (namespace, workload), group in hit.groupby(["namespace", "workload"], sort=False):
        why: Counter[str] = Counter()
        for pod in group["pod"]:
            why.update(reasons.get(f"Pod/{namespace}/{pod}", {}))
        told = some([f"{text} ×{times}" for text, times in why.most_common()])
        sums = (int(group["restarts"].sum()), int(group["oom_kills"].sum()))
        rows.append((f"{namespace}/{workload}", len(group), *sums, told))
    rows.sort(key=lambda row: (-row[2], -row[3], row[0]))
    columns = (
        text_column("workload"),
        number("pods", count),
        number("restarts", count),
        number("OOM kills", count, lambda kills: kills > 0),
        text_column("why"),
    )
    return Section("Restarts and OOM kills", (Grid(columns, tuple(rows[:ROWS])),))


def _why_restarted(events: pd.DataFrame) -> dict[str, Counter[str]]:
    warnings = events[
        (events["type"] == "Warning")
        & events["reason"].isin(["Killing", "OOMKilling", "SystemOOM", "Failed"])
    ]
    reasons: dict[str, Counter[str]] = {}
    columns = (warnings["object"], warnings["reason"], warnings["message"])
    for pod, reason, message in zip(*columns, strict=True):
        reasons.setdefault(pod, Counter())[_cause(reason, message)] += 1
    return reasons


def _cause(reason: str, message: str) -> str:
    if reason == "OOMKilling":
        return "over its memory limit"
    if reason == "SystemOOM":
        return "node out of memory"
    for probe in ("liveness", "startup"):
        if f"{probe} probe" in message:
            return f"{probe} probe failed"
    return message.removeprefix("Container ended with ")


def _rows(frame: pd.DataFrame, names: list[str]) -> tuple[tuple[Any, ...], ...]:
    return tuple(frame[names].itertuples(index=False, name=None))


def unmodelled(result: Result) -> Section:
    """What the inputs use and the simulation leaves out, and the modelling choices in force."""
    info = result.info
    parts: list[str | Grid] = []
    if info.unmodelled:
        columns = (text_column("in the input, but not modelled"), number("times", count))
        parts.append(Grid(columns, tuple(info.unmodelled.items())))
    parts += [f"- {note}" for note in info.notes]
    return Section("What this result leaves out or assumes", tuple(parts))
