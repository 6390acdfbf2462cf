"""The section on what happened when: node failures, detection, evictions, back to normal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.metrics import FAILING
from sim.report.outcome import ends_by_workload
from sim.report.values import Grid, Section, many, moment, some, text_column

if TYPE_CHECKING:
    import pandas as pd

    from sim.result import Result

GAP_S = 60.0  # events of one kind that are closer than this are told together
REPLACED_S = 60.0  # a pod made this soon after an eviction replaces what was evicted
FLAPS = 3  # a service whose errors begin more often gets one line for all
FIRST_LINES, LAST_LINES = 14, 5  # what is told of a long story

# event reason -> what is said of one and of several objects
NODES = {
    "NodeDown": ("node failed", "nodes failed"),
    "NodeCutOff": ("node lost contact", "nodes lost contact"),
    "NodeNotReady": ("node marked NotReady", "nodes marked NotReady"),
    "NodeUp": ("node works again", "nodes work again"),
    "NodeReady": ("node Ready again", "nodes Ready again"),
    "RegisteredNode": ("node joined", "nodes joined"),
    "RemovingNode": ("node left", "nodes left"),
    "NodeNotSchedulable": ("node cordoned", "nodes cordoned"),
    "NodeSchedulable": ("node uncordoned", "nodes uncordoned"),
    "NodeHasInsufficientMemory": ("node short of memory", "nodes short of memory"),
    "NodeHasDiskPressure": ("node short of disk space", "nodes short of disk space"),
    "NodeHasInsufficientPID": ("node short of process ids", "nodes short of process ids"),
    "NodeHasSufficientMemory": ("node has memory again", "nodes have memory again"),
    "NodeHasNoDiskPressure": ("node has disk space again", "nodes have disk space again"),
    "NodeHasSufficientPID": ("node has process ids again", "nodes have process ids again"),
}
PODS = {
    "TaintManagerEviction": ("pod evicted by taint", "pods evicted by taint"),
    "Evicted": ("pod evicted by the kubelet", "pods evicted by the kubelet"),
    "Preempted": ("pod preempted", "pods preempted"),
    "Preempting": ("pod preempted by the kubelet", "pods preempted by the kubelet"),
}
SERVICES = {
    "RequestsFail": "requests begin to fail",
    "NoEndpoints": "no endpoint is ready",
    "RequestsSucceed": "all requests are answered again",
}
TROUBLE = {*FAILING, *PODS, "RequestsFail", "NoEndpoints"}
ENDED = ("container killed or failed", "containers killed or failed")


@dataclass(slots=True)
class _Group:
    """Events of one kind in one zone, close to each other in time."""

    reason: str
    begin_s: float
    end_s: float
    zone: str = ""
    objects: dict[str, None] = field(default_factory=dict)  # in order, without repeats
    causes: dict[str, None] = field(default_factory=dict)  # pods for which others were preempted


def happened(result: Result) -> Section:
    """Failures and what followed, in order of time, and when all was well again."""
    services = _service_events(result.events)
    flapping = _flapping(services)
    groups = _groups(result, set(flapping))
    lines = [(group.begin_s, group.end_s, _sentence(group, result)) for group in groups]
    lines += _replacements(groups, result)
    lines += [_flaps(name, services[services["object"] == name]) for name in flapping]
    troubled = bool(flapping) or any(group.reason in TROUBLE for group in groups)
    since_s = min((begin_s for begin_s, _, _ in lines), default=0.0)
    last_s = max((end_s for _, end_s, _ in lines), default=0.0)
    lines += _container_ends(result)
    if not lines:
        return Section("What happened", ())
    lines.sort(key=lambda line: line[0])
    rows = [(_when(begin_s, end_s), sentence) for begin_s, end_s, sentence in lines]
    if len(rows) > FIRST_LINES + LAST_LINES + 1:
        left_out = len(rows) - FIRST_LINES - LAST_LINES
        middle = ("...", f"{left_out} more; see the events table")
        rows = [*rows[:FIRST_LINES], middle, *rows[-LAST_LINES:]]
    grid = Grid((text_column("when"), text_column("what")), tuple(rows))
    end = _ending(since_s, last_s, result) if troubled else ""
    return Section("What happened", (grid, end) if end else (grid,))


def _service_events(events: pd.DataFrame) -> pd.DataFrame:
    """Events of services after the start, without successes that no errors came before."""
    rows = events[events["reason"].isin(SERVICES) & (events["t_s"] > 0)]
    failing: set[str] = set()
    kept = []
    for row, (name, reason) in enumerate(zip(rows["object"], rows["reason"], strict=True)):
        kept += [row] if reason != "RequestsSucceed" or name in failing else []
        (failing.discard if reason == "RequestsSucceed" else failing.add)(name)
    return rows.iloc[kept]


def _flapping(services: pd.DataFrame) -> list[str]:
    """Services whose errors began and ended too often to tell each time."""
    begun = services[services["reason"] == "RequestsFail"]["object"].value_counts(sort=False)
    return [str(name) for name, times in begun.items() if times > FLAPS]


def _flaps(name: str, rows: pd.DataFrame) -> tuple[float, float, str]:
    """One line for all the times that the requests to a service failed."""
    reasons = rows["reason"].tolist()
    times_s = rows["t_s"].tolist()
    empty = reasons.count("NoEndpoints")
    said = f"{name.partition('/')[2]}: requests began to fail"
    said += f" {many(reasons.count('RequestsFail'), 'time')}"
    said += f", no endpoint was ready {many(empty, 'time')}" if empty else ""
    said += "" if reasons[-1] == "RequestsSucceed" else "; not over at the end"
    return times_s[0], times_s[-1], said


def _container_ends(result: Result) -> list[tuple[float, float, str]]:
    """One line per workload and cause: containers killed or failed, and how often."""
    return [
        (times_s[0], times_s[-1], f"{workload}: {many(len(times_s), *ENDED)}, {cause}")
        for workload, causes in ends_by_workload(result).items()
        for cause, times_s in causes.items()
    ]


def _groups(result: Result, flapping: set[str]) -> list[_Group]:
    events = result.events
    told = events["reason"].isin([*NODES, *PODS]) & (events["t_s"] > 0)
    services = _service_events(events)
    services = services[~services["object"].isin(flapping)]
    rows = events[told | events.index.isin(services.index)]
    zones = dict(zip(result.nodes["node"], result.nodes["zone"], strict=True))
    opened: dict[tuple[str, str], _Group] = {}
    groups: list[_Group] = []
    down: set[str] = set()
    causes = _preemptors(events).loc[rows.index]
    columns = (rows["t_s"], rows["reason"], rows["object"], rows["message"], causes)
    for at_s, reason, name, message, cause in zip(*columns, strict=True):
        if not _worth_telling(reason, name, message, down):
            continue
        zone = zones.get(name.removeprefix("Node/"), "") if reason in NODES else ""
        group = opened.get((reason, zone))
        if group is None or at_s - group.end_s > GAP_S:
            group = opened[reason, zone] = _Group(reason, at_s, at_s, zone)
            groups.append(group)
        group.end_s = at_s
        group.objects[name] = None
        if cause:
            group.causes[cause] = None
    return groups


def _preemptors(events: pd.DataFrame) -> pd.Series[str]:
    """For each pod that was preempted the one it made room for, as its event says."""
    said = events["message"].str.extract(r"^Preempted by (\S+) on node", expand=False)
    return ("Pod/" + said).where(events["reason"] == "Preempted").fillna("")


def _worth_telling(reason: str, name: str, message: str, down: set[str]) -> bool:
    """Leave out cancelled evictions and nodes that become Ready without having failed."""
    if reason in FAILING:
        down.add(name)
    if reason == "NodeReady":
        was_down = name in down
        down.discard(name)
        return was_down
    return reason != "TaintManagerEviction" or message.startswith("Marking")


def _sentence(group: _Group, result: Result) -> str:
    names = some([name.partition("/")[2] for name in group.objects])
    if group.reason in SERVICES:
        return f"{names}: {SERVICES[group.reason]}"
    said = many(len(group.objects), *(NODES | PODS)[group.reason])
    if group.reason in PODS:
        whom = some(_workloads(list(group.objects), result.pods))
        by = some(_workloads(list(group.causes), result.pods))
        return f"{said}{f' for {by}' if by else ''}: {whom}"
    zone = f"zone {group.zone}: " if group.zone else ""
    return f"{zone}{said} ({names})"


def _workloads(objects: list[str], pods: pd.DataFrame) -> list[str]:
    """'Deployment/web ×6' for the pods named 'Pod/namespace/name', the most frequent first."""
    names = {name.rpartition("/")[2] for name in objects}
    rows = pods[pods["pod"].isin(names)]
    owner = {
        f"Pod/{n}/{p}": w
        for n, p, w in zip(rows["namespace"], rows["pod"], rows["workload"], strict=True)
    }
    counts = Counter(owner.get(name, name.removeprefix("Pod/")) for name in objects)
    return [f"{name} ×{times}" for name, times in counts.most_common()]


def _replacements(groups: list[_Group], result: Result) -> list[tuple[float, float, str]]:
    """When the pods that replaced evicted ones were ready, one line per wave of evictions."""
    lines = []
    for group in groups:
        if group.reason in PODS:
            lines += _replacement(group, result.pods)
    return lines


def _replacement(group: _Group, pods: pd.DataFrame) -> list[tuple[float, float, str]]:
    names = {name.rpartition("/")[2] for name in group.objects}
    owners = set(pods[pods["pod"].isin(names)]["workload"])
    made = pods[
        pods["workload"].isin(owners)
        & pods["created_s"].between(group.begin_s, group.end_s + REPLACED_S)
    ]
    ready_s = made["ready_s"].dropna()
    if not len(ready_s):
        return []
    amount = f"{len(ready_s):,} of {many(len(made), 'replacement')}"
    if len(ready_s) == len(made):
        amount = many(len(made), "replacement")
    return [(float(ready_s.min()), float(ready_s.max()), f"{amount} ready")]


def _ending(since_s: float, last_s: float, result: Result) -> str:
    """When everything was well again, or what is still wrong at the end."""
    present = result.nodes[~result.nodes["node"].isin(_gone(result.events))]
    wrong = [
        (int((~present["ready"]).sum()), "node out of order", "nodes out of order"),
        (_left_waiting(since_s, result.pods), "pod waits for a node", "pods wait for a node"),
        (_short(result.workloads), "workload short of pods", "workloads short of pods"),
    ]
    said = [many(amount, one, several) for amount, one, several in wrong if amount]
    if said:
        return f"Not back to normal at the end: {', '.join(said)}."
    return f"Back to normal at {moment(last_s)}."


def _left_waiting(since_s: float, pods: pd.DataFrame) -> int:
    """Pods made since the first trouble that no node has taken."""
    made = pods[pods["created_s"] >= since_s]
    return int((made["scheduled_s"].isna() & made["finished_s"].isna()).sum())


def _gone(events: pd.DataFrame) -> set[str]:
    """Nodes whose last coming or going was a going."""
    rows = events[events["reason"].isin(["RegisteredNode", "RemovingNode"])]
    last = dict(zip(rows["object"], rows["reason"], strict=True))
    return {name.removeprefix("Node/") for name, why in last.items() if why == "RemovingNode"}


def _short(workloads: pd.DataFrame) -> int:
    watched = workloads[workloads["availability"].notna()]
    return int((watched["ready"] < watched["minimum"]).sum())


def _when(begin_s: float, end_s: float) -> str:
    begin, end = moment(begin_s), moment(end_s)
    return begin if begin == end else f"{begin} to {end}"
