"""Who would have to leave a node so that a more important pod fits, and what is kept of that.

Follows SelectVictimsOnNode of pkg/scheduler/framework/plugins/defaultpreemption/
default_preemption.go and pickOneNodeForPreemption of framework/preemption/preemption.go (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sim.plugins.node_resources_fit import FIRST_RESOURCE_BIT, TOO_MANY_PODS
from sim.tables import Ints, Ints8

if TYPE_CHECKING:
    from array import array

    from sim.cluster import Cluster
    from sim.dryrun import DryRun
    from sim.extend import NodeIds

PRIORITY_SHIFT = 2**31  # MaxInt32 + 1, so that no priority lowers a sum
UNKNOWN, CLEAN, VIOLATING, HOPELESS = range(4)  # what is known of a node
NONE = np.empty(0, np.int64)

Reasons = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node where the pod fits once the victims, most important first, are gone.

    `sum_priorities` adds 2^31 to each priority; `earliest_start_ms` looks only at the victims of
    the highest priority.
    """

    node: int
    victims: tuple[int, ...]
    pdb_violations: int
    highest_priority: int
    sum_priorities: int
    earliest_start_ms: int


class Fact(NamedTuple):
    """What matters of a template: priority, requests of what the new pod wants, and budgets."""

    priority: int
    amounts: tuple[int, ...]
    budgets: tuple[int, ...]


class Lower(NamedTuple):
    """A pod of lower priority. They sort by importance, then by their place on the node."""

    less_important: int  # minus its priority
    start_ms: int
    place: int
    pod: int
    fact: Fact


@dataclass(slots=True)
class Kept:
    """What was found out about the nodes for pods of one shape."""

    shape: int
    priority: int
    needs: list[tuple[int, int]]  # resource row, amount
    state: Ints8
    keys: Ints  # per node what candidates are ranked by; see RANKING
    found: list[Candidate | Reasons | None]
    facts: dict[int, Fact] = field(default_factory=dict)  # by template
    by_budget: dict[int, tuple[int, set[int]]] = field(default_factory=dict)  # allowed, its nodes
    nominations: Ints = field(default_factory=lambda: NONE)
    unstarted: list[int] = field(default_factory=list)  # nodes with pods that have no start yet
    pods_seen: int = 0
    nodes_seen: int = 0
    lasts: bool = False  # whether what was found rests on sums, and holds until they move

    def forget_all(self) -> None:
        """Nothing that was found holds any more."""
        self.state[:] = UNKNOWN
        self.by_budget.clear()

    def forget(self, nodes: Sequence[int] | array[int] | NodeIds) -> None:
        """Forget what was found about these nodes, or about all if there are that many."""
        if len(nodes) > len(self.state):
            self.forget_all()
        elif len(nodes):
            self.state[nodes] = UNKNOWN

    def unknown(self, nodes: NodeIds) -> list[int]:
        """Those of the nodes about which nothing is known."""
        unknown: list[int] = nodes[self.state[nodes] == UNKNOWN].tolist()
        return unknown

    def best(self, nodes: NodeIds) -> NodeIds:
        """Those candidates that no other one beats, in the order given."""
        for key in self.keys:
            if len(nodes) == 1:
                break
            values = key[nodes]
            nodes = nodes[values == values.min()]
        return nodes

    def put(self, node: int, found: Candidate | Reasons) -> None:
        """Keep what was found about the node."""
        self.found[node] = found
        if isinstance(found, Candidate):
            self.state[node] = VIOLATING if found.pdb_violations else CLEAN
            self.keys[:, node] = [rank(found) for rank in RANKING]
        else:
            self.state[node] = HOPELESS


# The fewest of each win, one after the other (pickOneNodeForPreemption).
RANKING: tuple[Callable[[Candidate], int], ...] = (
    lambda candidate: candidate.pdb_violations,
    lambda candidate: candidate.highest_priority,
    lambda candidate: candidate.sum_priorities,
    lambda candidate: len(candidate.victims),
    lambda candidate: -candidate.earliest_start_ms,
)


class SummedRoom:
    """A node without its less important pods where only sums decide."""

    def __init__(
        self, cluster: Cluster, kept: Kept, node: int, lower: list[Lower], beside: list[Fact]
    ) -> None:
        table, self._kept = cluster.nodes, kept
        pods = table.pod_count.item(node) - len(lower) + len(beside)
        self._pods = table.max_pods.item(node) - 1 - pods
        self._spare = [
            table.allocatable.item(row, node)
            - table.requested.item(row, node)
            - amount
            + sum(pod.fact.amounts[place] for pod in lower)
            - sum(fact.amounts[place] for fact in beside)
            for place, (row, amount) in enumerate(kept.needs)
        ]

    def why(self) -> int:
        """What NodeResourcesFit would say; nominated pods only take room, so they count."""
        why = TOO_MANY_PODS if self._pods < 0 else 0
        for (row, _), spare in zip(self._kept.needs, self._spare, strict=True):
            if spare < 0:
                why |= 1 << (row + FIRST_RESOURCE_BIT)
        return why

    def keeps(self, pod: Lower) -> bool:
        """Put the pod back if there is room for it beside the new one."""
        if self._pods < 1:
            return False
        left = [spare - amount for spare, amount in zip(self._spare, pod.fact.amounts, strict=True)]
        if left and min(left) < 0:
            return False
        self._spare, self._pods = left, self._pods - 1
        return True

    def give_up(self, pod: Lower) -> None:
        """Take a pod off again that was put back."""
        amounts = pod.fact.amounts
        self._spare = [spare + amount for spare, amount in zip(self._spare, amounts, strict=True)]
        self._pods += 1


class DryRoom:
    """A node without its less important pods, as all filters see it.

    `summed`, if given, is the same node as NodeResourcesFit sees it: what its sums rule out needs
    no dry run.
    """

    def __init__(
        self,
        supposed: DryRun,
        lower: list[Lower],
        beside: Sequence[int],
        summed: SummedRoom | None,
    ) -> None:
        self._supposed, self._beside, self._summed = supposed, beside, summed
        for pod in lower:
            supposed.remove(pod.pod)

    def refusal(self) -> Reasons | None:
        """Why the node would not take the pod, with the pods nominated to it or without them
        (RunFilterPluginsWithNominatedPods)."""
        refusal = None
        if self._beside:
            for pod in self._beside:
                self._supposed.add(pod)
            refusal = self._supposed.refusal()
            for pod in reversed(self._beside):
                self._supposed.remove(pod)
        refusal = refusal or self._supposed.refusal()
        return refusal[1].reasons if refusal else None

    def keeps(self, pod: Lower) -> bool:
        """Put the pod back if the node takes the new one beside it."""
        if self._summed and not self._summed.keeps(pod):
            return False
        self._supposed.add(pod.pod)
        if self.refusal() is None:
            return True
        self._supposed.remove(pod.pod)
        if self._summed:
            self._summed.give_up(pod)
        return False
