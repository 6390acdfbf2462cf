"""NodeUnschedulable: cordoned nodes take only pods that tolerate it.

Follows pkg/scheduler/framework/plugins/nodeunschedulable/node_unschedulable.go (v1.34.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.extend import SKIP, Code, NodeIds, Reads, Shortfall, Verdict, Whys
from sim.podspec import Taint

if TYPE_CHECKING:
    from sim.cluster import Cluster, Template

CORDON_TAINT = Taint("node.kubernetes.io/unschedulable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class NodeUnschedulable:
    name: ClassVar[str] = "NodeUnschedulable"
    reads: ClassVar[Reads] = Reads.NODE

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """Nothing to ask when the pod tolerates cordoned nodes."""
        tolerated = any(t.tolerates(CORDON_TAINT) for t in pod.pod.spec.tolerations)
        return SKIP if tolerated else None

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """1 on cordoned nodes."""
        return cluster.nodes.unschedulable[nodes].astype(np.int32)

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """The one reason there is."""
        return Verdict(Code.UNRESOLVABLE, ("node(s) were unschedulable",))

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """Nothing to measure."""
        return Shortfall(f"is cordoned: uncordon it, or tolerate {CORDON_TAINT.key}")
