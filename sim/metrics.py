"""Headline numbers from the tables of a result: DataFrames in, values out.

Time averages, availability and requests count after the warm-up; pods, waits, restarts, OOM kills,
evictions and cost cover the whole run. A number that is not defined, such as the mean wait of no
pods, is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import SimError, did_you_mean
from sim.schema import SUMMARY

if TYPE_CHECKING:
    import pandas as pd

    from sim.result import RunInfo

    Tables = Mapping[str, pd.DataFrame]

Floats = NDArray[np.float64]
Span = tuple[float, float]  # seconds, from and to

NODE_LABELS = ("zone", "pool")
FAILING = ("NodeDown", "NodeCutOff", "NodeNotReady")  # event reasons that open an outage of a node
HEALED = ("NodeReady", "RemovingNode")  # and those that end it
PREEMPTED = ("Preempted", "Preempting")  # by the scheduler; by the kubelet for a critical pod


def lookup(
    tables: Tables, info: RunInfo, name: str, labels: Mapping[str, str] | None = None
) -> float:
    """The value of one summary name, for what `labels` select; NaN where it is not defined.

    Raises SimError for a name that does not exist, a label it does not take, or a label value that
    nothing in the run has.
    """
    labels = labels or {}
    _check(name, labels)
    scope = _Scope(tables, info, labels)
    _check_values(scope)
    return float(MEASURES[name](scope))


def summary(tables: Tables, info: RunInfo) -> dict[str, float]:
    """Every name without labels, then the availability of services and of workloads that failed."""
    scope = _Scope(tables, info, {})
    numbers = {
        name: float(MEASURES[name](scope)) for name, row in SUMMARY.items() if not row.needs_label
    }
    services, workloads = tables["services"], tables["workloads"]
    for service, value in zip(services["service"], services["availability"], strict=True):
        numbers[f'availability{{service="{service}"}}'] = float(value)
    failed = workloads[workloads["unavailable_s"] > 0]
    for name, value in zip(workload_names(failed), failed["availability"], strict=True):
        numbers[f'availability{{workload="{name}"}}'] = float(value)
    return numbers


def workload_names(frame: pd.DataFrame) -> list[str]:
    """Full names, 'shop/Deployment/web', of the rows of a table with namespace and workload."""
    return [f"{n}/{w}" for n, w in zip(frame["namespace"], frame["workload"], strict=True)]


def spans_of_outages(events: pd.DataFrame, duration_s: float) -> list[Span]:
    """When at least one node was out of order: from its failure until it was Ready again."""
    rows = events[events["reason"].isin([*FAILING, *HEALED])]
    down: set[str] = set()
    spans: list[Span] = []
    since = 0.0
    for at_s, reason, node in zip(rows["t_s"], rows["reason"], rows["object"], strict=True):
        was_down = bool(down)
        (down.add if reason in FAILING else down.discard)(node)
        if down and not was_down:
            since = float(at_s)
        if was_down and not down:
            spans.append((since, float(at_s)))
    return [*spans, (since, duration_s)] if down else spans


def most_at_once(begin_s: Floats, end_s: Floats) -> int:
    """Largest number of half-open intervals [begin, end) that hold at one time."""
    lasting = end_s > begin_s
    begin_s, end_s = begin_s[lasting], end_s[lasting]
    if not len(begin_s):
        return 0
    times = np.concatenate([end_s, begin_s])  # on a tie the ends come first
    steps = np.concatenate([np.full(len(end_s), -1), np.full(len(begin_s), 1)])
    return int(np.cumsum(steps[np.argsort(times, kind="stable")]).max())


@dataclass(frozen=True)
class _Scope:
    """The rows that the labels of one question select."""

    tables: Tables
    info: RunInfo
    labels: Mapping[str, str]

    @property
    def window_s(self) -> float:
        return self.info.duration_s - self.info.warm_up_s

    @cached_property
    def nodes(self) -> pd.DataFrame:
        return _where(self.tables["nodes"], self.labels, NODE_LABELS)

    @cached_property
    def pods(self) -> pd.DataFrame:
        pods = _where(self.tables["pods"], self.labels, ("namespace", *NODE_LABELS))
        workload = self.labels.get("workload")
        return pods if workload is None else pods[_of_workload(pods, workload)]

    @cached_property
    def presence(self) -> dict[str, list[Span]]:
        """When nodes that joined or left did exist; the others exist throughout."""
        return _presence(self.tables["events"], self.info.duration_s)

    @cached_property
    def present_s(self) -> Floats:
        """Time of each node in the run, after the warm-up."""
        whole = [(0.0, self.info.duration_s)]
        since = self.info.warm_up_s
        return np.array(
            [
                sum(max(0.0, end - max(begin, since)) for begin, end in spans)
                for spans in (self.presence.get(node, whole) for node in self.nodes["node"])
            ]
        )

    @cached_property
    def at_end(self) -> pd.DataFrame:
        """Nodes that exist when the run ends."""
        end_s = self.info.duration_s
        gone = [n for n, spans in self.presence.items() if not spans or spans[-1][1] < end_s]
        return self.nodes[~self.nodes["node"].isin(gone)]


def _presence(events: pd.DataFrame, duration_s: float) -> dict[str, list[Span]]:
    rows = events[events["reason"].isin(["RegisteredNode", "RemovingNode"])]
    since: dict[str, float] = {}
    spans: dict[str, list[Span]] = {}
    for at_s, reason, name in zip(rows["t_s"], rows["reason"], rows["object"], strict=True):
        node = name.removeprefix("Node/")
        known = spans.setdefault(node, [])
        if reason == "RegisteredNode":
            since.setdefault(node, float(at_s))
        elif node in since or not known:
            known.append((since.pop(node, 0.0), float(at_s)))
    for node, at_s in since.items():
        spans[node].append((at_s, duration_s))
    return spans


def _where(frame: pd.DataFrame, labels: Mapping[str, str], names: Sequence[str]) -> pd.DataFrame:
    for name in names:
        if name in labels:
            frame = frame[frame[name] == labels[name]]
    return frame


def _of_workload(frame: pd.DataFrame, value: str) -> pd.Series[bool]:
    """Rows of a workload given as 'web', 'Deployment/web', 'shop/web' or 'shop/Deployment/web'."""
    first, *rest = value.split("/")
    workload = frame["workload"]
    if not rest:
        return (workload == value) | workload.str.endswith(f"/{value}")
    if first[:1].isupper():  # a kind; namespaces are lower case
        return workload == value
    name = "/".join(rest)
    named = workload == name if len(rest) > 1 else workload.str.endswith(f"/{name}")
    return (frame["namespace"] == first) & named


def _time_average(column: str, allocatable: str) -> Callable[[_Scope], float]:
    """Mean of a per-node share, weighted by allocatable and the node's time in the run."""

    def measure(scope: _Scope) -> float:
        values = scope.nodes[column].to_numpy()
        weights = scope.nodes[allocatable].to_numpy() * scope.present_s
        known = ~np.isnan(values) & (weights > 0)
        return _ratio((values[known] * weights[known]).sum(), weights[known].sum())

    return measure


def _requested_pods(scope: _Scope) -> float:
    """Time pods were bound ÷ time pod slots existed, after the warm-up."""
    pods = scope.pods[scope.pods["node"] != ""]
    begin_s = np.maximum(pods["scheduled_s"].to_numpy(), scope.info.warm_up_s)
    end_s = _or_end(pods["finished_s"], scope.info.duration_s)
    bound_s = np.maximum(end_s - begin_s, 0).sum()
    return _ratio(bound_s, (scope.nodes["max_pods"].to_numpy() * scope.present_s).sum())


def _overcommit(limits: str, allocatable: str) -> Callable[[_Scope], float]:
    return lambda scope: _ratio(scope.at_end[limits].sum(), scope.at_end[allocatable].sum())


def _availability(scope: _Scope) -> float:
    table = "services" if "service" in scope.labels else "workloads"
    return float(_one_row(scope, table)["availability"])


def _field(table: str, column: str) -> Callable[[_Scope], float]:
    return lambda scope: float(_one_row(scope, table)[column])


def _one_row(scope: _Scope, table: str) -> pd.Series[Any]:
    """The one row that the service or workload label selects."""
    frame = scope.tables[table]
    if table == "services":
        return frame[frame["service"] == scope.labels["service"]].iloc[0]
    rows = frame[_of_workload(frame, scope.labels["workload"])]
    if len(rows) != 1:
        choices = ", ".join(workload_names(rows if len(rows) else frame)) or "none"
        found = "several match" if len(rows) else "its availability is not tracked; known are"
        raise SimError(f"workload {scope.labels['workload']!r}: {found}: {choices}")
    return rows.iloc[0]


def _pending_count(scope: _Scope) -> int:
    pods, end_s = scope.pods, scope.info.duration_s
    bound_s = pods["scheduled_s"].fillna(pods["finished_s"])
    return most_at_once(pods["created_s"].to_numpy(), _or_end(bound_s, end_s))


def _pending_end(scope: _Scope) -> int:
    pods = scope.pods
    return int((pods["scheduled_s"].isna() & pods["finished_s"].isna()).sum())


def _wait(of: Callable[[Floats], Any]) -> Callable[[_Scope], float]:
    def measure(scope: _Scope) -> float:
        waits = scope.pods["wait_s"].dropna().to_numpy()
        return float(of(waits)) if len(waits) else math.nan

    return measure


def _running(scope: _Scope) -> int:
    return int(((scope.pods["phase"] == "Running") & scope.pods["finished_s"].isna()).sum())


def _total(table: str, column: str) -> Callable[[_Scope], float]:
    return lambda scope: float(getattr(scope, table)[column].sum())


def _evictions(scope: _Scope) -> int:
    events = scope.tables["events"]
    by_taint = events[events["reason"] == "TaintManagerEviction"]
    marked = by_taint[by_taint["message"].str.startswith("Marking")]  # the others are cancelled
    by_kubelet = events[events["reason"] == "Evicted"]
    return _count_pods(scope, {*marked["object"], *by_kubelet["object"]})


def _preemptions(scope: _Scope) -> int:
    events = scope.tables["events"]
    return _count_pods(scope, set(events[events["reason"].isin(PREEMPTED)]["object"]))


def _count_pods(scope: _Scope, objects: set[str]) -> int:
    """How many of the pods in scope are among `objects` ('Pod/namespace/name')."""
    if not scope.labels or not objects:
        return len(objects)
    pods = zip(scope.pods["namespace"], scope.pods["pod"], strict=True)
    return sum(f"Pod/{namespace}/{pod}" in objects for namespace, pod in pods)


def _or_end(times_s: pd.Series[float], end_s: float) -> Floats:
    return np.asarray(times_s.fillna(end_s), dtype=np.float64)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


def _percentile(percent: float) -> Callable[[Floats], Any]:
    return lambda values: np.percentile(values, percent)


MEASURES: dict[str, Callable[[_Scope], float]] = {
    "utilization.cpu": _time_average("utilization_cpu", "cpu_m"),
    "utilization.memory": _time_average("utilization_memory", "memory_b"),
    "requested.cpu": _time_average("requested_cpu", "cpu_m"),
    "requested.memory": _time_average("requested_memory", "memory_b"),
    "requested.pods": _requested_pods,
    "stranded.cpu": _time_average("stranded_cpu", "cpu_m"),
    "stranded.memory": _time_average("stranded_memory", "memory_b"),
    "overcommit.cpu": _overcommit("cpu_limit_m", "cpu_m"),
    "overcommit.memory": _overcommit("memory_limit_b", "memory_b"),
    "availability": _availability,
    "unavailable.seconds": _field("workloads", "unavailable_s"),
    "error.seconds": _field("services", "error_s"),
    "outage.seconds": _field("services", "outage_s"),
    "pending.count": _pending_count,
    "pending.end": _pending_end,
    "pending.seconds": _wait(np.mean),
    "pending.seconds.p50": _wait(_percentile(50)),
    "pending.seconds.p95": _wait(_percentile(95)),
    "pending.seconds.p99": _wait(_percentile(99)),
    "pending.seconds.max": _wait(np.max),
    "pods": lambda scope: len(scope.pods),
    "pods.running": _running,
    "pods.perNode": lambda scope: float(scope.at_end["pods"].mean()),
    "restarts": _total("pods", "restarts"),
    "oomKills": _total("pods", "oom_kills"),
    "evictions": _evictions,
    "preemptions": _preemptions,
    "cost": _total("nodes", "cost_usd"),
}


def _check(name: str, labels: Mapping[str, str]) -> None:
    row = SUMMARY.get(name)
    if row is None:
        raise SimError(f"no summary name {name!r}. {did_you_mean(name, SUMMARY)}".rstrip(". "))
    takes = ", ".join(row.labels)
    for label in labels:
        if label not in row.labels:
            raise SimError(f"{name} takes no label {label!r}; it takes {takes or 'none'}")
    if row.needs_label and len(labels) != 1:
        raise SimError(f"{name} needs one label: {takes.replace(', ', ' or ')}")


def _check_values(scope: _Scope) -> None:
    """Refuse a label value that nothing in the run has, so that a typo never passes as a zero."""
    for label, value in scope.labels.items():
        known = _known(scope.tables, label)
        if label == "workload":
            frames = (scope.tables["pods"], scope.tables["workloads"])
            found = any(_of_workload(frame, value).any() for frame in frames)
        else:
            found = value in known
        if not found:
            hint = did_you_mean(value, known) or f"Known: {', '.join(sorted(known)[:8]) or 'none'}"
            raise SimError(f"no {label} {value!r} in this run. {hint}")


def _known(tables: Tables, label: str) -> set[str]:
    if label in NODE_LABELS:
        return set(tables["nodes"][label])
    if label == "service":
        return set(tables["services"]["service"])
    frames = (tables["pods"], tables["workloads"])
    if label == "namespace":
        return {value for frame in frames for value in frame["namespace"].unique()}
    pairs = (frame[["namespace", "workload"]].drop_duplicates() for frame in frames)
    return {name for frame in pairs for name in workload_names(frame)}
