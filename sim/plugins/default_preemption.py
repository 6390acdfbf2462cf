"""DefaultPreemption: which nodes are tried for a pod that no node takes, and how many.

The search itself is `sim.preemption`. Upstream:
pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go (v1.34.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sim.events import Action, Event, Kind

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template


@dataclass(frozen=True)
class DefaultPreemption:
    """The search ends when so many candidates are found: a percentage of the nodes, at least."""

    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100

    name: ClassVar[str] = "DefaultPreemption"
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = ((Kind.POD, Action.DELETE),)

    def candidates_wanted(self, nodes: int) -> int:
        """How many candidates are enough among `nodes` where preemption may help."""
        share = nodes * self.min_candidate_nodes_percentage // 100
        return min(max(share, self.min_candidate_nodes_absolute), nodes)

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Never: the filters that refused the pod see by themselves when its victims are gone."""
        return False
