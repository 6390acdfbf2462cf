"""NodeResourcesFit: a node must have room for the requests; fuller or emptier nodes score.

Follows pkg/scheduler/framework/plugins/noderesources/{fit,resource_allocation,least_allocated,
most_allocated,requested_to_capacity_ratio}.go (v1.34.1). Integer arithmetic in which every division
truncates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sim.events import Action, Event, Kind, NodeFacts
from sim.extend import MAX_SCORE, Code, NodeIds, Reads, Scores, Shortfall, Verdict, Whys
from sim.podspec import (
    CPU,
    DEFAULT_CPU_REQUEST_M,
    DEFAULT_MEMORY_REQUEST_B,
    MEMORY,
    PODS,
    nonzero_request,
)
from sim.tables import CPU_ROW, MEMORY_ROW, UNBOUND, Ints, NodeTable
from sim.units import format_amount

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

NATIVE = (CPU, MEMORY, "ephemeral-storage")
DEFAULTS = {CPU: DEFAULT_CPU_REQUEST_M, MEMORY: DEFAULT_MEMORY_REQUEST_B}
TOO_MANY_PODS = 1  # bit 0 of a why; bit 1 says "unresolvable", resource rows start at bit 2
UNRESOLVABLE = 2
FIRST_RESOURCE_BIT = 2

FEW = 8  # up to so many nodes are answered one by one

Strategy = Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]


@dataclass(frozen=True)
class NodeResourcesFit:
    """`resources` are (name, weight) pairs of the strategy, `shape` (utilization, score) points."""

    strategy: Strategy = "LeastAllocated"
    resources: tuple[tuple[str, int], ...] = ((CPU, 1), (MEMORY, 1))
    shape: tuple[tuple[int, int], ...] = ()
    ignored_resources: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()

    name: ClassVar[str] = "NodeResourcesFit"
    reads: ClassVar[Reads] = Reads.NODE | Reads.PODS_ON_NODE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.POD, Action.DELETE | Action.POD_SCALE_DOWN),
        (Kind.NODE, Action.ADD | Action.NODE_ALLOCATABLE),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The resource rows that the pod asks for, and how much."""
        rows = [
            row
            for row in np.flatnonzero(pod.requests).tolist()
            if not self._ignores(cluster.nodes.resources[row])
        ]
        return [(row, int(pod.requests[row])) for row in rows]

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """One bit per resource that is short."""
        table = cluster.nodes
        if len(nodes) <= FEW:
            return np.array([_why(table, node, state) for node in nodes.tolist()], np.int32)
        whys = (table.pod_count[nodes] >= table.max_pods[nodes]).astype(np.int32)
        for row, amount in state:
            allocatable = table.allocatable[row, nodes]
            short = amount > allocatable - table.requested[row, nodes]
            whys |= short * np.int32(1 << (row + FIRST_RESOURCE_BIT))
            if (amount > allocatable).any():
                whys |= (amount > allocatable) * np.int32(UNRESOLVABLE)
        return whys

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """Everything that is short, in alphabetical order."""
        reasons = ["Too many pods"] if why & TOO_MANY_PODS else []
        for row, resource in enumerate(cluster.nodes.resources):
            if why >> (row + FIRST_RESOURCE_BIT) & 1:
                reasons.append(f"Insufficient {resource}")
        code = Code.UNRESOLVABLE if why & UNRESOLVABLE else Code.UNSCHEDULABLE
        return Verdict(code, tuple(sorted(reasons)))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """How much is missing of each resource, and of what the node has of it."""
        table, parts, share = cluster.nodes, [], 0.0
        most, there = int(table.max_pods[node]), int(table.pod_count[node])
        if there >= most:
            parts.append(f"has no room for another pod ({there} of at most {most})")
            share += (there + 1 - most) / max(most, 1)
        for row, asked in state:
            whole = int(table.allocatable[row, node])
            free = whole - int(table.requested[row, node])
            if asked > free:
                parts.append(_lacking(table.resources[row], asked, free, whole))
                share += (asked - free) / max(whole, 1)
        return Shortfall("; ".join(parts), share)

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """Per scored resource: row, weight, and what the pod adds to it."""
        return scored_resources(pod, cluster, self.resources, incoming=True)

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """The strategy's weighted mean over the resources that the node has."""
        few = SCORES_OF_ONE.get(self.strategy) if len(nodes) <= FEW else None
        if few is not None:
            means = [_mean(cluster.nodes, node, state, few) for node in nodes.tolist()]
            return np.array(means, np.int64)
        total = np.zeros(len(nodes), np.int64)
        weights = np.zeros(len(nodes), np.int64)
        for row, weight, added in state:
            capacity = cluster.nodes.allocatable[row, nodes]
            score = self._resource_score(_taken(cluster, row, nodes) + added, capacity)
            counted = capacity > 0
            if self.strategy == "RequestedToCapacityRatio":
                counted &= score > 0
            total += weight * score * counted
            weights += weight * counted
        if self.strategy == "RequestedToCapacityRatio":
            return round_half_up(total, weights)
        mean: Scores = total // np.maximum(weights, 1)
        return mean

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Room has come that the pod could use; ignored resources are looked at here too."""
        before, after = event.before, event.after
        if event.kind is Kind.NODE:
            return _fits_empty(pod, after) and (before is None or _grew(pod, before, after))
        if event.action is Action.DELETE:
            return bool(before.node != UNBOUND or before.nominated != UNBOUND)
        return own or (after.node != UNBOUND and _asks_less(pod, before.template, after.template))

    def _resource_score(self, requested: Ints, capacity: Ints) -> Ints:
        if self.strategy == "LeastAllocated":
            return free_percent(capacity, requested)
        if self.strategy == "MostAllocated":
            return used_percent(capacity, requested)
        return broken_linear(ratio_percent(capacity, requested), self._points)

    @cached_property
    def _points(self) -> tuple[tuple[int, int], ...]:
        """Scores of the shape go from 0 to 10 and are stretched to 0..100."""
        return tuple((utilization, score * MAX_SCORE // 10) for utilization, score in self.shape)

    def _ignores(self, resource: str) -> bool:
        """Only extended resources can be ignored (core/v1/helper IsExtendedResourceName)."""
        if "/" not in resource or "kubernetes.io/" in resource:
            return False
        return resource in self.ignored_resources or (
            resource.partition("/")[0] in self.ignored_groups
        )


def _lacking(resource: str, asked: int, free: int, whole: int) -> str:
    if whole == 0:
        return f"has no {resource}, asked {format_amount(resource, asked)}"
    lack, asked_, free_, whole_ = (
        format_amount(resource, amount) for amount in (asked - free, asked, max(free, 0), whole)
    )
    return f"lacks {lack} {resource} (asked {asked_}, free {free_} of {whole_})"


def _fits_empty(pod: Template, node: NodeFacts) -> bool:
    """Whether the node could take the pod if it had no other."""
    room = node.allocatable
    wanted = pod.pod.spec.requests
    return room.get(PODS, 0) >= 1 and all(
        amount <= room.get(name, 0) for name, amount in wanted.items() if amount
    )


def _grew(pod: Template, before: NodeFacts, after: NodeFacts) -> bool:
    """Whether the node has more room for pods, or more of what the pod asks for."""
    names = [PODS, *(name for name, amount in pod.pod.spec.requests.items() if amount)]
    return any(after.allocatable.get(n, 0) > before.allocatable.get(n, 0) for n in names)


def _asks_less(pod: Template, before: Template, after: Template) -> bool:
    """Whether another pod now asks for less of something that this one asks for."""
    old, new = before.pod.spec.requests, after.pod.spec.requests
    return any(
        old.get(name, 0) > new.get(name, 0)
        for name, amount in pod.pod.spec.requests.items()
        if amount
    )


# The same arithmetic for one node at a time, in Python's integers: for a few nodes it takes a third
# of the time that numpy's calls do.


def _why(table: NodeTable, node: int, state: list[tuple[int, int]]) -> int:
    why = int(table.pod_count.item(node) >= table.max_pods.item(node))
    for row, amount in state:
        allocatable = table.allocatable.item(row, node)
        if amount > allocatable - table.requested.item(row, node):
            why |= 1 << (row + FIRST_RESOURCE_BIT)
        if amount > allocatable:
            why |= UNRESOLVABLE
    return why


def _mean(
    table: NodeTable,
    node: int,
    state: list[tuple[int, int, int]],
    score: Callable[[int, int], int],
) -> int:
    total = weights = 0
    for row, weight, added in state:
        capacity = table.allocatable.item(row, node)
        if capacity > 0:
            total += weight * score(capacity, _taken_by_one(table, row, node) + added)
            weights += weight
    return total // max(weights, 1)


def _taken_by_one(table: NodeTable, row: int, node: int) -> int:
    if row == CPU_ROW:
        return table.nonzero_cpu_m.item(node)
    if row == MEMORY_ROW:
        return table.nonzero_memory_b.item(node)
    return table.requested.item(row, node)


SCORES_OF_ONE: dict[Strategy, Callable[[int, int], int]] = {
    "LeastAllocated": lambda cap, req: max(cap - req, 0) * MAX_SCORE // cap,
    "MostAllocated": lambda cap, req: min(req, cap) * MAX_SCORE // cap,
}


def scored_resources(
    pod: Template,
    cluster: Cluster,
    resources: tuple[tuple[str, int], ...],
    *,
    incoming: bool,
) -> list[tuple[int, int, int]]:
    """(row, weight, what the pod adds) of each resource; a scalar one it lacks is left out.

    Scalar are all but cpu, memory and ephemeral storage (util IsScalarResourceName).
    `incoming`: count by the scorer's non-zero requests, which ignore pod-level resources of the
    pod to be placed.
    """
    spec = pod.pod.spec
    scored = []
    for resource, weight in resources:
        row = cluster.nodes.resource_row(resource)
        if incoming:
            added = nonzero_request(spec, resource, DEFAULTS.get(resource, 0), on_node=False)
        else:
            added = int(pod.requests[row]) if row < len(pod.requests) else 0
        if added or resource in NATIVE:
            scored.append((row, weight, added))
    return scored


def free_percent(capacity: Ints, requested: Ints) -> Ints:
    """(capacity - requested) * 100 / capacity, truncated; 0 where it does not fit."""
    free: Ints = np.maximum(capacity - requested, 0) * MAX_SCORE // np.maximum(capacity, 1)
    return free


def used_percent(capacity: Ints, requested: Ints) -> Ints:
    """min(requested, capacity) * 100 / capacity, truncated."""
    used: Ints = np.minimum(requested, capacity) * MAX_SCORE // np.maximum(capacity, 1)
    return used


def ratio_percent(capacity: Ints, requested: Ints) -> Ints:
    """requested * 100 / capacity, truncated; 100 where it does not fit or there is none."""
    fits = (capacity > 0) & (requested <= capacity)
    return np.where(fits, requested * MAX_SCORE // np.maximum(capacity, 1), MAX_SCORE)


def broken_linear(x: Ints, points: tuple[tuple[int, int], ...]) -> Ints:
    """The line through `points` in integers: below the first its score, above the last its own."""
    y = np.full(len(x), points[-1][1], np.int64)
    for (x0, y0), (x1, y1) in reversed(list(pairwise(points))):
        rise = (y1 - y0) * (x - x0)
        step = np.sign(rise) * (np.abs(rise) // (x1 - x0))
        y = np.where(x <= x1, y0 + step, y)
    return np.where(x <= points[0][0], points[0][1], y)


def round_half_up(total: Ints, weights: Ints) -> Ints:
    """total / weights rounded half away from zero (both are >= 0); 0 without weights."""
    return np.where(weights > 0, (2 * total + weights) // np.maximum(2 * weights, 1), 0)


def _taken(cluster: Cluster, row: int, nodes: NodeIds) -> Ints:
    """What the pods on the nodes count for in scores."""
    table = cluster.nodes
    if row == CPU_ROW:
        return table.nonzero_cpu_m[nodes]
    if row == MEMORY_ROW:
        return table.nonzero_memory_b[nodes]
    requested: Ints = table.requested[row, nodes]
    return requested
