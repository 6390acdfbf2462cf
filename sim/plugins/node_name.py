"""NodeName: a pod that names its node goes nowhere else.

Follows pkg/scheduler/framework/plugins/nodename/node_name.go (v1.34.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Event, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Shortfall, Verdict, Whys

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.templates import Template

NOWHERE = -1


@dataclass(frozen=True, slots=True)
class NodeName:
    name: ClassVar[str] = "NodeName"
    reads: ClassVar[Reads] = Reads.NODE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = ((Kind.NODE, Action.ADD),)

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The name that the pod asks for."""
        return pod.pod.spec.node_name or SKIP

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """1 on every node but the named one."""
        whys: Whys = (nodes != cluster.nodes.by_name.get(state, NOWHERE)).astype(np.int32)
        return whys

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """The one reason there is."""
        reason = "node(s) didn't match the requested node name"
        return Verdict(Code.UNRESOLVABLE, (reason,))

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """Any new node, whatever its name."""
        return True

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """The name that was asked for."""
        missing = "" if state in cluster.nodes.by_name else ", which does not exist"
        return Shortfall(f"is not the node that the pod names, {state}{missing}")
