"""Sections on room and money: utilization, stranded resources, overcommit, cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sim.report.values import (
    Grid,
    Section,
    cores,
    count,
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
        number("pods a node", count),
        number("CPU used", percent),
        number("requested", percent),
        number("memory used", percent),
        number("requested", percent),
        number("pod slots", percent),
    )
    return Section("Utilization", (Grid(columns, tuple(rows)),))


def _places(
    result: Result, by: tuple[str, ...] = ("zone", "pool")
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
        parts += [f"A typical pod (the median) requests {size}.", _sizes(result, typical), RULES]
    return Section("Stranded resources", tuple(parts))


def typical_pod(pods: pd.DataFrame) -> tuple[float, float]:
    """Median CPU and memory request of the pods on nodes at the end; zeros without any."""
    bound = pods[(pods["node"] != "") & pods["finished_s"].isna()]
    if not len(bound):
        return 0.0, 0.0
    return float(bound["cpu_request_m"].median()), float(bound["memory_request_b"].median())


def _worst_nodes(nodes: pd.DataFrame, typical: tuple[float, float]) -> Grid:
    cpu = nodes["stranded_cpu_m"] / nodes["cpu_m"].where(nodes["cpu_m"] > 0)
    mem = nodes["stranded_memory_b"] / nodes["memory_b"].where(nodes["memory_b"] > 0)
    worst = cpu.combine(mem, max).sort_values(ascending=False, kind="stable")
    rows = []
    for index in worst[worst > 0].head(WORST_NODES).index:
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
        text_column("worst nodes at the end"),
        number("CPU cores", cores),
        number("share", percent),
        number("memory", memory),
        number("share", percent),
        number("pods that still fit", count),
        text_column("because"),
    )
    return Grid(columns, tuple(rows))


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
        number("holds typical pods", count, lambda pods: pods < MIN_PODS),
        number("strands CPU", percent),
        number("memory", percent),
        text_column("rule of thumb"),
    )
    keys = ["pool", "cpu_m", "memory_b", "max_pods"]
    rows: list[tuple[Any, ...]] = []
    sizes: Any = result.nodes.groupby(keys)
    for (pool, cpu_m, memory_b, max_pods), group in sizes:
        holds = _holds((cpu_m, memory_b), typical, max_pods)
        lost = [_mean_share(group, name, part) for name, part in STRANDED]
        row = (pool or "(no pool)", len(group), cpu_m, memory_b, holds, *lost, _rule(holds, *lost))
        rows.append(row)
    rows.sort(key=lambda row: -row[1])
    return Grid(columns, tuple(rows[:WHERES]))


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
        number("CPU", ratio),
        number("memory", ratio, lambda value: value > 1),
        number("pods without memory limit", count),
    )
    rows = []
    for title, labels, _ in _places(result, ("pool",)):
        nodes = result.nodes
        for label, name in labels.items():
            nodes = nodes[nodes[label] == name]
        shares = [result.lookup(f"overcommit.{part}", **labels) for part in ("cpu", "memory")]
        rows.append((title, *shares, int(nodes["unlimited_pods"].sum())))
    return Grid(columns, tuple(rows))


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
        sums = [sum(row[i] for row in rows) for i in (2, 3, 4, 5)]
        rows = [*rows[:WHERES], ("all", "", *sums)]
    columns = (
        text_column("pool"),
        text_column("instance type"),
        number("nodes", count),
        number("an hour", usd),
        number("this run", usd),
        number("a month of 730 h", lambda hourly: usd(hourly * HOURS_PER_MONTH)),
    )
    return Section("Cost", (Grid(columns, tuple(rows)), "List prices of the nodes alone."))
