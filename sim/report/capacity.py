"""Sections on room and money: utilization, stranded resources, overcommit, cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sim.metrics import NODE_LABELS
from sim.report.values import (
    Grid,
    Section,
    about,
    cores,
    count,
    first_rows,
    many,
    memory,
    number,
    percent,
    ratio,
    text_column,
    usd,
)

if TYPE_CHECKING:
    import pandas as pd

    from sim.result import Result

WHERES = 8  # most zones, and most pools, in a grid
WORST_NODES = 5
HOURS_PER_MONTH = 730

# Rules of thumb of capacity planning: a node of a good size holds at least MIN_PODS typical pods
# and strands at most 10 %, below 5 % once it holds ten; kubelets take 110 pods by default.
MIN_PODS = 5
MANY_PODS = 10
MAX_STRANDED = 0.10
MAX_STRANDED_MANY = 0.05
RULES = (
    "Rules of thumb: a node holds at least 5 typical pods and strands at most 10 % (below 5 % once"
    " it holds 10), within the cap of 110 pods a node. They guarantee nothing: where k equal pods"
    " fit, up to 1/(k+1) of a node can be left over."
)


def utilization(result: Result) -> Section:
    """Used and requested shares of the cluster, its zones and its pools."""
    if not len(result.nodes):
        return Section("Utilization", ())
    names = (
        "pods.perNode",
        "utilization.cpu",
        "requested.cpu",
        "utilization.memory",
        "requested.memory",
        "requested.pods",
    )
    rows = []
    for title, labels, nodes in _places(result):
        rows.append((title, nodes, *(result.lookup(name, **labels) for name in names)))
    columns = (
        text_column("time average"),
        number("nodes", count),
        number("pods a node (end)", count),
        number("CPU used", percent),
        number("requested", percent),
        number("memory used", percent),
        number("requested", percent),
        number("pod slots", percent),
    )
    kinds = [label for label in NODE_LABELS if result.nodes[label].nunique() > WHERES]
    hidden = [f"{result.nodes[label].nunique() - WHERES:,} more {label}s" for label in kinds]
    left_out = f"... and {', '.join(hidden)}; see the nodes table" if hidden else ""
    return Section("Utilization", (Grid(columns, tuple(rows), left_out),))


def _places(
    result: Result, by: tuple[str, ...] = NODE_LABELS
) -> list[tuple[str, dict[str, str], int]]:
    """Title, labels and number of nodes: the cluster, then zones and pools if several."""
    places: list[tuple[str, dict[str, str], int]] = [("cluster", {}, len(result.nodes))]
    for label in by:
        sizes = result.nodes[label].value_counts().sort_index()
        if len(sizes) > 1:
            biggest = sizes.sort_values(ascending=False, kind="stable").head(WHERES).index
            places += [
                (f"{label} {name or '(none)'}", {label: str(name)}, int(sizes[name]))
                for name in sizes.index
                if name in biggest
            ]
    return places


def stranded(result: Result) -> Section:
    """What is free and yet useless, on which nodes, and whether the node sizes suit the pods."""
    cpu, mem = result.summary["stranded.cpu"], result.summary["stranded.memory"]
    if math.isnan(cpu) and math.isnan(mem):
        return Section("Stranded resources", ())
    parts: list[str | Grid] = [
        f"{percent(cpu)} of CPU and {percent(mem)} of memory (time average) are free, but no"
        " further pod of the running mix could use them."
    ]
    typical = typical_pod(result.pods)
    nodes = _worst_nodes(result.nodes, typical)
    if nodes.rows:
        parts.append(nodes)
    if any(typical):
        size = f"{cores(typical[0])} cores and {memory(typical[1])}"
        parts += [
            f"A typical pod (the nearest to the median) requests {size}.",
            _sizes(result, typical),
            RULES,
        ]
    return Section("Stranded resources", tuple(parts))


def typical_pod(pods: pd.DataFrame) -> tuple[float, float]:
    """CPU and memory request of a pod that is on a node at the end: the nearest to the medians.

    Pods that request nothing do not count; zeros without any.
    """
    shapes = _bound(pods)[["cpu_request_m", "memory_request_b"]].astype(float)
    shapes = shapes[(shapes > 0).any(axis=1)].sort_values(list(shapes.columns))
    if not len(shapes):
        return 0.0, 0.0
    medians = shapes.quantile(0.5, interpolation="lower")
    far = ((shapes - medians).abs() / medians.clip(lower=1.0)).sum(axis=1)
    cpu_m, memory_b = shapes.iloc[int(far.to_numpy().argmin())]
    return float(cpu_m), float(memory_b)


def _bound(pods: pd.DataFrame) -> pd.DataFrame:
    """Pods on nodes at the end."""
    return pods[(pods["node"] != "") & pods["finished_s"].isna()]


def _worst_nodes(nodes: pd.DataFrame, typical: tuple[float, float]) -> Grid:
    cpu = nodes["stranded_cpu_m"] / nodes["cpu_m"].where(nodes["cpu_m"] > 0)
    mem = nodes["stranded_memory_b"] / nodes["memory_b"].where(nodes["memory_b"] > 0)
    worst = cpu.combine(mem, max).sort_values(ascending=False, kind="stable")
    rows = []
    worst = worst[worst > 0]
    for index in worst.head(WORST_NODES).index:
        node = nodes.loc[index]
        rows.append(
            (
                node["node"],
                node["stranded_cpu_m"],
                cpu[index],
                node["stranded_memory_b"],
                mem[index],
                node["fits_more"],
                _because(node, typical),
            )
        )
    columns = (
        text_column("worst at the end"),
        number("stranded CPU", cores),
        number("share", percent),
        number("memory", memory),
        number("share", percent),
        number("more pods fit", about),
        text_column("because"),
    )
    rest = len(worst) - len(rows)
    left_out = f"... and {rest:,} more; see the nodes table" if rest else ""
    return Grid(columns, tuple(rows), left_out)


def _because(node: pd.Series[Any], typical: tuple[float, float]) -> str:
    """What stops further typical pods, now or once the node is filled up with them."""
    if node["pods"] >= node["max_pods"]:
        return f"cap of {node['max_pods']} pods"
    free_cpu_m = node["cpu_m"] - node["cpu_requested_m"]
    free_memory_b = node["memory_b"] - node["memory_requested_b"]
    cpu_full, memory_full = free_cpu_m < typical[0], free_memory_b < typical[1]
    if cpu_full and memory_full:
        return "too little left of both"
    if cpu_full or memory_full:
        return "CPU is full" if cpu_full else "memory is full"
    by_cpu = free_cpu_m // typical[0] if typical[0] else math.inf
    by_memory = free_memory_b // typical[1] if typical[1] else math.inf
    slots = node["max_pods"] - node["pods"]
    if slots < min(by_cpu, by_memory):
        return "pod slots run out first"
    if by_cpu == by_memory:
        return "uneven remainder"
    return "CPU runs out first" if by_cpu < by_memory else "memory runs out first"


def _sizes(result: Result, typical: tuple[float, float]) -> Grid:
    columns = (
        text_column("node size"),
        number("nodes", count),
        number("CPU cores", cores),
        number("memory", memory),
        number("typical pods", count, lambda pods: pods < MIN_PODS),
        number("stranded CPU", percent),
        number("memory", percent),
        text_column("rule of thumb"),
    )
    keys = ["pool", "cpu_m", "memory_b", "max_pods"]
    rows: list[tuple[Any, ...]] = []
    sizes: Any = result.nodes.groupby(keys)
    for (pool, cpu_m, memory_b, max_pods), group in sizes:
        holds = _holds((cpu_m, memory_b), typical, max_pods)
        lost = [_mean_share(group, name, part) for name, part in STRANDED]
        title = pool or f"{cores(cpu_m)} cores, {memory(memory_b)}"  # nodes from manifests
        rows.append((title, len(group), cpu_m, memory_b, holds, *lost, _rule(holds, *lost)))
    rows.sort(key=lambda row: -row[1])
    return first_rows(columns, rows, WHERES, "the nodes table")


STRANDED = (("stranded_cpu", "cpu_m"), ("stranded_memory", "memory_b"))


def _mean_share(nodes: pd.DataFrame, column: str, allocatable: str) -> float:
    known = nodes[nodes[column].notna()]
    weights = known[allocatable]
    total = weights.sum()
    return float((known[column] * weights).sum() / total) if total > 0 else math.nan


def _holds(size: tuple[int, int], typical: tuple[float, float], max_pods: int) -> int:
    fits = [int(have // want) for have, want in zip(size, typical, strict=True) if want > 0]
    return min([*fits, max_pods])


def _rule(holds: int, cpu: float, mem: float) -> str:
    """Whether a node size keeps the rules, or which one it breaks."""
    most = MAX_STRANDED_MANY if holds >= MANY_PODS else MAX_STRANDED
    broken = [f"< {MIN_PODS} pods"] if holds < MIN_PODS else []
    too_much = [word for word, share in (("CPU", cpu), ("memory", mem)) if share > most]
    if too_much:
        broken.append(f"{', '.join(too_much)} > {most * 100:.0f} %")
    return "; ".join(broken) or "kept"


def overcommit(result: Result) -> Section:
    """How far the limits go beyond what the nodes have."""
    nodes = result.nodes
    unlimited = int(nodes["unlimited_pods"].sum())
    if not nodes[["cpu_limit_m", "memory_limit_b"]].to_numpy().any() and not unlimited:
        return Section("Overcommit", ())
    parts: list[str | Grid] = [_limits(result)]
    over = int((nodes["memory_limit_b"] > nodes["memory_b"]).sum())
    if over:
        parts.append(
            f"On {many(over, 'node')} memory limits add up to more than the node has: if its pods"
            " grow towards their limits, some are killed or evicted."
        )
    if unlimited:
        parts.append(
            f"{many(unlimited, 'pod has', 'pods have')} a container without memory limit: it can"
            " take what others on its node count on."
        )
    return Section("Overcommit", tuple(parts))


def _limits(result: Result) -> Grid:
    columns = (
        text_column("limits / allocatable, at the end"),
        number("CPU", _of_limits),
        number("memory", _of_limits, lambda value: value > 1),
        number("pods without CPU limit", count),
        number("without memory limit", count),
    )
    pods = _bound(result.pods)
    pods = pods[pods["cpu_limit_m"] == 0]
    rows = []
    for title, labels, _ in _places(result, ("pool",)):
        nodes = result.nodes
        for label, name in labels.items():
            nodes = nodes[nodes[label] == name]
        shares = [result.lookup(f"overcommit.{part}", **labels) for part in ("cpu", "memory")]
        free = int(pods["node"].isin(nodes["node"]).sum())
        rows.append((title, *shares, free, int(nodes["unlimited_pods"].sum())))
    return Grid(columns, tuple(rows))


def _of_limits(value: float) -> str:
    return ratio(value) if value else "no limits"


def _sums(rows: list[tuple[Any, ...]]) -> list[Any]:
    """Nodes, price an hour, cost, and price again, of several pools."""
    return [sum(row[i] for row in rows) for i in (2, 3, 4, 5)]


def cost(result: Result) -> Section:
    """What the nodes cost, by pool."""
    nodes = result.nodes
    if not nodes["cost_usd"].sum() > 0:
        return Section("Cost", ())
    rows: list[tuple[Any, ...]] = []
    pools: Any = nodes.groupby(["pool", "instance_type"])
    for (pool, kind), group in pools:
        hourly = float(group["price_usd_per_hour"].sum())
        rows.append((pool, kind, len(group), hourly, float(group["cost_usd"].sum()), hourly))
    rows.sort(key=lambda row: (-row[4], row[0]))
    if len(rows) > 1:
        rest = len(rows) - WHERES
        more = [(f"{rest:,} more, see nodes", "", *_sums(rows[WHERES:]))] if rest > 0 else []
        rows = [*rows[:WHERES], *more, ("all", "", *_sums(rows))]
    columns = (
        text_column("pool"),
        text_column("instance type"),
        number("nodes", count),
        number("an hour", usd),
        number("this run", usd),
        number("a month of 730 h", lambda hourly: usd(hourly * HOURS_PER_MONTH)),
    )
    return Section("Cost", (Grid(columns, tuple(rows)), "List prices of the nodes alone."))
