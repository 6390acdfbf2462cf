"""NodeUnschedulable: cordoned nodes take only pods that tolerate it.

Follows pkg/scheduler/framework/plugins/nodeunschedulable/node_unschedulable.go (v1.34.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Event, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Shortfall, Verdict, Whys
from sim.podspec import Taint, Toleration

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

CORDON_TAINT = Taint("node.kubernetes.io/unschedulable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class NodeUnschedulable:
    name: ClassVar[str] = "NodeUnschedulable"
    reads: ClassVar[Reads] = Reads.NODE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.NODE, Action.ADD | Action.NODE_TAINT),
        (Kind.POD, Action.POD_TOLERATION),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """Nothing to ask when the pod tolerates cordoned nodes."""
        return SKIP if _tolerated(pod.pod.spec.tolerations) else None

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """1 on cordoned nodes."""
        return cluster.nodes.unschedulable[nodes].astype(np.int32)

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """The one reason there is."""
        return Verdict(Code.UNRESOLVABLE, ("node(s) were unschedulable",))

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """A node came or was uncordoned, or the pod has come to tolerate cordoned nodes."""
        if event.kind is Kind.POD:
            return own and _tolerated(event.after.template.pod.spec.tolerations)
        was_closed = event.before is None or event.before.unschedulable
        return was_closed and not event.after.unschedulable

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """Nothing to measure."""
        return Shortfall(f"is cordoned: uncordon it, or tolerate {CORDON_TAINT.key}")


def _tolerated(tolerations: tuple[Toleration, ...]) -> bool:
    return any(toleration.tolerates(CORDON_TAINT) for toleration in tolerations)
