"""Sections on what came of it: expectations, availability, failures, waiting pods, restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.metrics import workload_names
from sim.report.values import (
    Grid,
    Section,
    availability,
    by_unit,
    count,
    duration,
    first_rows,
    many,
    moment,
    number,
    some,
    text_column,
)
from sim.units import duration_ms

if TYPE_CHECKING:
    import pandas as pd

    from sim.result import Result

ROWS = 8  # most rows of a grid in a report
WARNINGS = 5  # most warnings about manifests up front
NOTICEABLE_S = 1.0  # a shorter wait for a node is the scheduler's ordinary pace


def headline(result: Result) -> Section:
    """What was asked, how big the run was, and whether the expectations hold."""
    info = result.info
    parts: list[str | Grid] = [f"Warning: {text}" for text in _warnings(result)]
    parts += [info.question] if info.question else []
    parts += _setting(result)
    parts.append(_size(result))
    if result.verdicts:
        held = sum(verdict.passed for verdict in result.verdicts)
        parts.append(f"{held} of {many(len(result.verdicts), 'expectation')} met:")
        parts.append(_verdicts(result))
    return Section(info.name, tuple(parts))


def _warnings(result: Result) -> list[str]:
    """What makes the numbers below say little, or not what was meant."""
    found = []
    if not len(result.nodes):
        found.append("there is no node at all, so no pod can run.")
    late = _late_faults(result)
    if late:
        end = duration(result.info.duration_s)
        found.append(f"{some(late)} would come after the end of the run ({end}): never happened.")
    odd = result.info.warnings
    found += odd[:WARNINGS]
    if len(odd) > WARNINGS:
        found.append(f"... and {len(odd) - WARNINGS:,} more; `python -m sim validate` lists all.")
    return found


def _late_faults(result: Result) -> list[str]:
    late = []
    for index, fault in enumerate(result.scenario.get("faults") or ()):
        at = fault.get("at") if isinstance(fault, Mapping) else None
        if isinstance(at, str | int) and duration_ms(at) >= result.info.duration_s * 1000:
            late.append(f"faults[{index}] at {at}")
    return late


def _setting(result: Result) -> list[str]:
    info = result.info
    start = info.start.replace("T", " ").replace("Z", " UTC").replace(":00 UTC", " UTC")
    counted = "" if info.warm_up_s else ", counted from the start"
    setting = (
        f"{duration(info.duration_s)} from {start}{counted};"
        f" Kubernetes {info.kubernetes}, seed {info.seed}"
    )
    if not info.warm_up_s:
        return [setting]
    return [
        setting,
        f"Averages, availability and requests count after {duration(info.warm_up_s)} of warm-up;"
        " pods, waiting (pending), restarts, OOM kills, evictions and cost over the whole run.",
    ]


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
    if len(watched):
        parts.append(
            "A workload is available while all its pods (or its budget's minimum) are ready."
        )
    if len(result.services):
        parts.append("Each Service is judged alone: calls between services are not modelled.")
    return Section("Availability", tuple(parts))


def _services(services: pd.DataFrame) -> Grid:
    worst = services.sort_values(["availability", "service"], kind="stable")
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
    return first_rows(columns, _rows(worst, [*names, "ready"]), ROWS, "the services table")


def _short_workloads(short: pd.DataFrame) -> Grid:
    worst = short.sort_values("availability", kind="stable")
    columns = (
        text_column("workload short of pods"),
        number("available", availability, lambda share: share < 0.99),
        number("short for", duration),
        number("minimum", count),
        number("ready", count),
        number("wanted", count),
    )
    rows = _rows(worst, ["availability", "unavailable_s", "minimum", "ready", "wanted"])
    named = [(name, *row) for name, row in zip(workload_names(worst), rows, strict=True)]
    return first_rows(columns, named, ROWS, "the workloads table")


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
        f" {_how_long(n)}"
    )
    return Section("Pods waiting for a node", (line, _why_waiting(result, slow)))


def _how_long(n: Mapping[str, float]) -> str:
    longest = duration(n["pending.seconds.max"])
    if n["pending.seconds.p95"] < NOTICEABLE_S:
        return f"Nearly all pods had a node at once; the longest wait was {longest}."
    return (
        f"Half of all pods waited at most {duration(n['pending.seconds.p50'])},"
        f" 95 % at most {duration(n['pending.seconds.p95'])}, the longest {longest}."
    )


def _waits(pods: pd.DataFrame) -> pd.Series[bool]:
    return pods["scheduled_s"].isna() & pods["finished_s"].isna()


def _why_waiting(result: Result, slow: pd.DataFrame) -> Grid:
    messages = _last_refusals(result.events)
    rows = []
    for (namespace, workload), group in slow.groupby(["namespace", "workload"], sort=False):
        said = (messages.get(f"Pod/{namespace}/{pod}", "") for pod in group["pod"])
        reasons = Counter(message for message in said if message)
        why = reasons.most_common(1)[0][0] if reasons else _untried(group)
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
    return first_rows(columns, rows, ROWS, "the pods table")


def _untried(group: pd.DataFrame) -> str:
    """Why pods waited that no attempt refused."""
    if (group["reason"] == "SchedulingGated").any():
        return "not tried: it has scheduling gates"
    if _waits(group).any():
        return "not tried: its turn never came, or no profile has its schedulerName"
    return "no refusal: it waited for its turn"


def _last_refusals(events: pd.DataFrame) -> dict[str, str]:
    refused = events[events["reason"] == "FailedScheduling"]
    return {
        pod: message.partition(" no new claims to deallocate,")[0]  # the rest is about victims
        for pod, message in zip(refused["object"], refused["message"], strict=True)
    }


def restarts(result: Result) -> Section:
    """Workloads whose containers restarted or were killed, and why; nodes short of memory."""
    pods = result.pods
    hit = pods[(pods["restarts"] > 0) | (pods["oom_kills"] > 0)]
    pressed = _pressed(result.nodes)
    if not len(hit):
        return Section("Restarts and OOM kills", pressed)
    ends = ends_by_workload(result)
    rows = []
    for (namespace, workload), group in hit.groupby(["namespace", "workload"], sort=False):
        causes = ends.get(f"{namespace}/{workload}", {})
        often = sorted(causes.items(), key=lambda item: -len(item[1]))
        told = some([f"{cause} ×{len(times)}, {_when(times)}" for cause, times in often])
        sums = (int(group["restarts"].sum()), int(group["oom_kills"].sum()))
        rows.append((f"{namespace}/{workload}", len(group), *sums, told))
    rows.sort(key=lambda row: (-row[2], -row[3], row[0]))
    columns = (
        text_column("workload"),
        number("pods", count),
        number("restarts", count),
        number("OOM kills", count, lambda kills: kills > 0),
        text_column("why and when"),
    )
    grid = first_rows(columns, rows, ROWS, "the workloads table")
    return Section("Restarts and OOM kills", (grid, *pressed))


def _pressed(nodes: pd.DataFrame) -> tuple[str, ...]:
    """How long nodes were under memory pressure, the longest first, and what was evicted there."""
    hit = nodes[nodes["memory_pressure_s"] > 0].sort_values("memory_pressure_s", ascending=False)
    if not len(hit):
        return ()
    columns = (hit["node"], hit["memory_pressure_s"], hit["evictions"])
    told = [
        f"{node} for {duration(seconds)} ({many(evicted, 'pod')} evicted)"
        for node, seconds, evicted in zip(*columns, strict=True)
    ]
    return (f"Under memory pressure: {some(told)}.",)


def _when(times_s: list[float]) -> str:
    first = moment(times_s[0])
    if len(times_s) == 1:
        return f"at {first}"
    return f"first at {first}, then {len(times_s) - 1:,} more until {moment(times_s[-1])}"


def ends_by_workload(result: Result) -> dict[str, dict[str, list[float]]]:
    """When containers ended against their will: times by cause, by 'namespace/workload'."""
    events, pods = result.events, result.pods
    warnings = events[
        (events["type"] == "Warning")
        & events["reason"].isin(["Killing", "OOMKilling", "SystemOOM", "Failed"])
    ]
    names = (pods["namespace"], pods["pod"], pods["workload"])
    owners = {f"Pod/{space}/{pod}": f"{space}/{w}" for space, pod, w in zip(*names, strict=True)}
    ends: dict[str, dict[str, list[float]]] = {}
    columns = (warnings["t_s"], warnings["object"], warnings["reason"], warnings["message"])
    for at_s, pod, reason, message in zip(*columns, strict=True):
        owner = owners.get(pod, pod.removeprefix("Pod/"))
        causes = ends.setdefault(owner, {})
        causes.setdefault(_cause(reason, message), []).append(float(at_s))
    return ends


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
