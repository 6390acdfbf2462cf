"""NodePorts: two pods cannot take the same host port of a node.

Follows pkg/scheduler/framework/plugins/nodeports/node_ports.go (v1.34.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sim.events import Action, Event, Kind
from sim.extend import SKIP, Code, NodeIds, Reads, Shortfall, Verdict, Whys
from sim.tables import UNBOUND

if TYPE_CHECKING:
    from sim.cluster import Cluster
    from sim.podspec import HostPort
    from sim.templates import Template


@dataclass(frozen=True, slots=True)
class NodePorts:
    name: ClassVar[str] = "NodePorts"
    reads: ClassVar[Reads] = Reads.PODS_ON_NODE
    listens: ClassVar[tuple[tuple[Kind, Action], ...]] = (
        (Kind.POD, Action.DELETE),
        (Kind.NODE, Action.ADD),
    )

    def prefilter(self, pod: Template, cluster: Cluster) -> Any:
        """The host ports that the pod wants."""
        return pod.host_ports or SKIP

    def filter(self, pod: Template, cluster: Cluster, nodes: NodeIds, state: Any) -> Whys:
        """1 where a pod on the node has one of them."""
        template, known = cluster.pods.template.item, pod.memo.setdefault(NodePorts, {})

        def conflicts(other: int) -> bool:
            number = template(other)
            if number not in known:
                known[number] = _any_conflict(state, cluster.templates[number].host_ports)
            return bool(known[number])

        pods = cluster.nodes.pods
        return np.array([any(map(conflicts, pods[node])) for node in nodes.tolist()], np.int32)

    def verdict(self, why: int, cluster: Cluster) -> Verdict:
        """The one reason there is."""
        reason = "node(s) didn't have free ports for the requested pod ports"
        return Verdict(Code.UNSCHEDULABLE, (reason,))

    def hint(self, event: Event, pod: Template, cluster: Cluster, *, own: bool) -> bool:
        """A new node, or a pod that had (or was to have) a node has given up one of the ports."""
        if event.kind is Kind.NODE:
            return True
        left = event.before
        held = left.node != UNBOUND or left.nominated != UNBOUND
        return held and _any_conflict(pod.host_ports, left.template.host_ports)

    def shortfall(self, pod: Template, cluster: Cluster, node: int, state: Any) -> Shortfall:
        """Which ports, and who has them."""
        taken = [
            f"host port {want.port}/{want.protocol} is taken by {cluster.pod_key(other)}"
            for want in state
            for other in cluster.nodes.pods[node]
            if any(want.conflicts(have) for have in cluster.pod_template(other).host_ports)
        ]
        return Shortfall("; ".join(taken), len(taken))


def _any_conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    return any(want.conflicts(have) for want in wanted for have in taken)
