"""NodeResourcesBalancedAllocation: prefer nodes whose resources fill up evenly.

Follows pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go (v1.34.1), in float64
as upstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.extend import MAX_SCORE, SKIP, NodeIds, Reads, Scores
from sim.plugins.node_resources_fit import FEW, scored_resources
from sim.podspec import CPU, MEMORY
from sim.tables import Bools, Floats, NodeTable

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template


@dataclass(frozen=True, slots=True)
class NodeResourcesBalancedAllocation:
    """`resources` are (name, weight) pairs; the weights are ignored, as upstream."""

    resources: tuple[tuple[str, int], ...] = ((CPU, 1), (MEMORY, 1))

    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    reads: ClassVar[Reads] = Reads.NODE | Reads.PODS_ON_NODE

    def prescore(self, pod: Template, cluster: Cluster, nodes: NodeIds) -> Any:
        """Per resource: row, weight, request. A pod that requests none of them is not scored."""
        scored = scored_resources(pod, cluster, self.resources, incoming=False)
        return scored if any(added for _, _, added in scored) else SKIP

    def score(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Scores:
        """(1 - standard deviation of the requested fractions) * 100, truncated."""
        table = cluster.nodes
        if len(nodes) <= FEW and len(state) == 2:
            scores_of = [_balance(table, node, state) for node in nodes.tolist()]
            return np.array(scores_of, np.int64)
        fractions, counted = [], []
        for row, _, added in state:
            capacity = table.allocatable[row, nodes]
            requested = table.requested[row, nodes] + added
            fraction = np.minimum(requested / np.maximum(capacity, 1), 1.0)
            fractions.append(fraction)
            counted.append(capacity > 0)
        if len(state) == 2 and all(mask.all() for mask in counted):
            spread = np.abs(fractions[0] - fractions[1]) / 2
        else:
            spread = _spread(np.array(fractions), np.array(counted))
        scores: Scores = ((1 - spread) * MAX_SCORE).astype(np.int64)
        return scores


def _balance(table: NodeTable, node: int, state: list[tuple[int, int, int]]) -> int:
    """The score of one node for two resources, in Python's floats, which are float64 too."""
    fractions = []
    for row, _, added in state:
        capacity = table.allocatable.item(row, node)
        if capacity <= 0:
            return MAX_SCORE  # fewer than two fractions do not differ
        fractions.append(min(float(table.requested.item(row, node) + added) / float(capacity), 1.0))
    return int((1 - abs(fractions[0] - fractions[1]) / 2) * MAX_SCORE)


def _spread(fractions: Floats, counted: Bools) -> Floats:
    """Per node the population standard deviation of the fractions of the resources it has."""
    count = counted.sum(axis=0)
    if len(fractions) == 2:
        both: Floats = np.where(count == 2, np.abs(fractions[0] - fractions[1]) / 2, 0.0)
        return both
    total = np.zeros(fractions.shape[1])
    for fraction, mask in zip(fractions, counted, strict=True):
        total += fraction * mask
    mean = total / np.maximum(count, 1)
    squares = np.zeros(fractions.shape[1])
    for fraction, mask in zip(fractions, counted, strict=True):
        squares += (fraction - mean) * (fraction - mean) * mask
    deviation = np.sqrt(squares / np.maximum(count, 1))
    two = _two_counted(fractions, counted)
    spread: Floats = np.where(count < 2, 0.0, np.where(count == 2, two, deviation))
    return spread


def _two_counted(fractions: Floats, counted: Bools) -> Floats:
    """|a - b| / 2 of the two counted fractions (upstream's shortcut for two)."""
    low = np.where(counted, fractions, np.inf).min(axis=0)
    high = np.where(counted, fractions, -np.inf).max(axis=0)
    with np.errstate(invalid="ignore"):
        half: Floats = np.abs(high - low) / 2
    return np.where(np.isfinite(half), half, 0.0)
